"""The node: what is known about data, who may ask, and the evidence of every act."""
