"""The codes that the stages of an exchange raise: one table, and long as it is one.

`exchange.api.problems` says what a line means, and adds what HTTP itself can say.
"""

from __future__ import annotations

from exchange.api.problem_kind import AGAIN, LATER, OPERATOR, Kind

# What the stages raise under codes of their own.
STAGES: dict[str, Kind] = {
    "aggregate_mode_fixed": Kind(
        409,
        "The dataset's aggregate mode is fixed",
        "A dataset is safe or dp for life; register another one for the other mode.",
    ),
    "dataset_name_taken": Kind(
        409, "The dataset's name is taken", "Choose another short name or table name."
    ),
    "dataset_not_profiled": Kind(
        409, "No version has been profiled", "Upload the data and wait for its profile."
    ),
    "dataset_title_missing": Kind(422, "A title is needed", "Send 1 to 200 characters."),
    "duplicate_upload": Kind(
        409, "The same bytes were uploaded before", "Use the version that is named."
    ),
    "key_missing": Kind(409, "The version has no data key", "Upload the data again."),
    "licence_unknown": Kind(
        422, "The licence is not known", "Use an SPDX expression or LicenseRef-..."
    ),
    "offer_closed": Kind(
        409, "There is no open offer", "Wait until the provider publishes a version."
    ),
    "partition_unfit": Kind(
        409,
        "The rows lie by another unit than the policy's",
        "Partition the version by this policy first.",
    ),
    "policy_column_absent": Kind(
        422,
        "The policy names a column that is not there",
        "Correct the line that is named.",
    ),
    "policy_limit_misplaced": Kind(
        422, "A limit stands where it means nothing", "Correct the line that is named."
    ),
    "policy_nothing_remains": Kind(
        422,
        "Nothing may be learned under the policies together",
        "Query fewer tables at once.",
    ),
    "policy_of_another_dataset": Kind(
        422, "The policy is another dataset's", "Name a policy version of this dataset."
    ),
    "policy_contradiction": Kind(
        422, "The policy contradicts itself", "Correct the line that is named."
    ),
    "policy_syntax": Kind(
        422, "The policy cannot be read", "Correct the line that is named."
    ),
    "policy_unknown_term": Kind(
        422, "The policy uses a word of no known version", "Correct the line that is named."
    ),
    "policy_table_absent": Kind(
        422, "The policy names a table that is not there", "Correct the line that is named."
    ),
    "policy_unknown": Kind(
        404,
        "There is no such policy version",
        "POST one to /api/v1/datasets/<id>/policies.",
    ),
    "policy_version_unfit": Kind(
        409,
        "The policy does not fit the version's columns",
        "Set a policy that fits, or publish another version.",
    ),
    "policy_weaker_than_floor": Kind(
        422,
        "The policy is weaker than the node's floor",
        "Raise what is named to the floor.",
    ),
    "policy_without_rule": Kind(422, "The policy lets nothing leave", "Add a rule."),
    "table_name_invalid": Kind(
        422,
        "The table's name cannot be used in SQL",
        "Use lower-case letters, digits and underscores.",
    ),
    "table_not_published": Kind(
        409, "The policy names a table that is not on offer", "Publish that dataset first."
    ),
    "table_policy_differs": Kind(
        409,
        "Two policies say different things of one table",
        "Take over what the table's own policy says.",
    ),
    "upload_bad_row": Kind(
        422,
        "A row of the upload cannot be read",
        "Correct the line and column that are named.",
    ),
    "upload_empty": Kind(
        422, "The upload has no bytes", "Send the file itself as the body."
    ),
    "upload_format_unknown": Kind(
        422, "The upload's format is not known", "Send ?format=csv or ?format=parquet."
    ),
    "upload_gone": Kind(409, "The uploaded bytes are gone", "Upload the file again."),
    "upload_interrupted": Kind(422, "The upload broke off", "Upload the file again."),
    "upload_no_space": Kind(
        507,
        "The node has no room for the upload",
        "Have the node's operator free space where the vault lies, then send it again.",
    ),
    "upload_not_parquet": Kind(
        422, "The upload is no Parquet file", "Check the file, or send ?format=csv."
    ),
    "upload_too_large": Kind(
        413,
        "The upload is larger than this node takes",
        "Split the data, or ask the operator.",
    ),
    "upload_truncated": Kind(
        422, "The upload ends too early", "Upload the whole file again."
    ),
    "version_key_destroyed": Kind(
        422,
        "The key of a dataset version was destroyed",
        "Nobody can read its rows any more; ask for another version.",
    ),
    "confirmation_differs": Kind(
        422, "The confirmation is not what was asked for", "Type exactly what is shown."
    ),
    "may_not_manage_keys": Kind(
        403, "Not allowed to manage keys", "Ask a data steward or an administrator."
    ),
    "version_not_failed": Kind(
        409, "The version has not failed", "Nothing is to be retried."
    ),
    "version_not_ready": Kind(
        409,
        "The version is not ready to be published",
        "Wait until it has been partitioned.",
    ),
    "version_withdrawn": Kind(
        409, "The version was withdrawn", "Ask for access to the version on offer."
    ),
    "already_decided": Kind(409, "You have given your word already"),
    "column_not_offered": Kind(
        422, "The rule does not offer a column", "Ask for columns that the rule lists."
    ),
    "duration_out_of_range": Kind(
        422, "The duration is out of range", "Ask for fewer days."
    ),
    "four_eyes": Kind(
        403,
        "Someone else must decide",
        "Neither the requester nor the requester's organisation decides.",
    ),
    "grant_missing": Kind(
        422, "No grant in force fits", "Request access first: POST /api/v1/requests."
    ),
    "grant_not_active": Kind(409, "The grant is not in force", "Request access anew."),
    "grant_revoked": Kind(409, "The grant was revoked", "Request access anew."),
    "justification_missing": Kind(
        422, "A justification is needed", "Say in a sentence what the data is for."
    ),
    "legal_basis_unknown": Kind(
        422,
        "The legal basis is not one of the list",
        "See the field's values in the OpenAPI document.",
    ),
    "licence_not_accepted": Kind(
        422,
        "The licence was not accepted by its name",
        "Read its terms, then send its SPDX name.",
    ),
    "own_dataset": Kind(
        422, "One's own data needs no grant", "Ask as another organisation."
    ),
    "purpose_not_offered": Kind(
        422, "No rule serves this purpose", "Choose a purpose that the policy names."
    ),
    "request_already_open": Kind(
        409, "Such a request is open already", "Wait for its decision, or withdraw it."
    ),
    "request_not_waiting": Kind(409, "The request waits for nobody"),
    "rule_kind_unknown": Kind(
        422, "The kind of rule is not known", "Ask for aggregate or subset."
    ),
    "cap_reached": Kind(429, "Today's runs are used up", "Wait until tomorrow (UTC)."),
    "column_not_granted": Kind(
        422, "The grant does not cover a column", "Order columns that the grant lists."
    ),
    "fingerprint_mismatch": Kind(
        422, "The plan is not the one that was approved", "Submit the query again."
    ),
    "history_moved": Kind(
        409, "Another release changed what this one may say", "Submit the query again."
    ),
    "history_not_held": Kind(
        422,
        "An earlier release joined tables that this grant does not hold",
        "Ask under a grant whose policy names both tables.",
    ),
    "history_unreadable": Kind(
        422, "The dataset's earlier releases cannot be read", OPERATOR
    ),
    "internal_error": Kind(500, "The node failed", OPERATOR),
    "key_too_long": Kind(
        422, "The idempotency key is too long", "Send at most 200 characters."
    ),
    "purpose_not_granted": Kind(
        422,
        "The grant is for another purpose",
        "Use the grant's purpose, or request access for this one.",
    ),
    "query_not_failed": Kind(409, "The query has not failed", "Nothing is to be retried."),
    "query_not_in_review": Kind(409, "The query waits for no review"),
    "query_refused": Kind(
        422, "The policy refuses the query", "See every reason with its hint."
    ),
    "receipt_pending": Kind(
        409, "No checkpoint covers it yet", "Try again in a few seconds."
    ),
    "release_held": Kind(
        409, "The release waits for a checkpoint", "Try again in a few seconds."
    ),
    "release_shredded": Kind(
        404, "The released bytes were shredded", "Submit the query again; its record stays."
    ),
    "sql_missing": Kind(422, "A query needs SQL", "Send one SELECT."),
    "sql_not_taken": Kind(422, "A subset takes no SQL", "Send columns instead."),
    "sql_too_long": Kind(422, "The SQL is too long", "Shorten it."),
    "vault_file_missing": Kind(404, "Stored bytes are missing", OPERATOR),
    "vault_name": Kind(422, "A stored file's name is not usable", OPERATOR),
    "authorization_malformed": Kind(
        401,
        "The Authorization header cannot be read",
        "Send `Authorization: Bearer TOKEN`.",
    ),
    "membership_exists": Kind(409, "The person has this role already"),
    "organisation_exists": Kind(
        409, "The organisation's short name is taken", "Choose another one."
    ),
    "organisation_unknown": Kind(
        404, "You belong to no such organisation", "GET /api/v1/me lists yours."
    ),
    "password_weak": Kind(
        422, "The password is too weak", "Use 12 or more characters that nobody guesses."
    ),
    "role_not_here": Kind(422, "The organisation has no such role", "Grant another role."),
    "token_expired": Kind(
        401, "The token has expired", "Make a new one on the page Tokens."
    ),
    "token_lifetime": Kind(422, "A token lives 1 to 365 days", "Ask for fewer days."),
    "token_not_active": Kind(404, "The token is revoked already"),
    "token_revoked": Kind(
        401, "The token was revoked", "Make a new one on the page Tokens."
    ),
    "token_scope": Kind(
        403,
        "The token does not reach this far",
        "Make a token with the scope that is named.",
    ),
    "token_scope_missing": Kind(422, "A token needs a scope", "Send at least one scope."),
    "token_scope_unknown": Kind(
        422, "There is no such scope", "Send scopes of the list that is named."
    ),
    "token_unknown": Kind(
        401, "The token is not known here", "Check that it is whole and of this node."
    ),
    "user_exists": Kind(409, "The user name is taken", "Choose another one."),
    "audit_event_incomplete": Kind(
        500, "The act could not be recorded, so it did not happen", OPERATOR
    ),
    "audit_insert_only": Kind(422, "The log cannot be changed"),
    "audit_outside_transaction": Kind(
        500, "The act could not be recorded, so it did not happen", OPERATOR
    ),
    "checkpoint_unknown": Kind(
        404, "No checkpoint was signed at this size", "Leave `size` away for the latest."
    ),
    "illegal_move": Kind(409, "Not possible in this state", AGAIN),
    "key_destroyed": Kind(
        409, "The key was destroyed", "What it opened cannot be opened any more."
    ),
    "key_not_issued": Kind(409, "There is no such key", OPERATOR),
    "key_provider_denied": Kind(503, "The key provider does not let the node in", OPERATOR),
    "key_provider_misconfigured": Kind(
        503, "The node's key provider is not set up right", OPERATOR
    ),
    "key_provider_sealed": Kind(
        503, "The key provider is sealed", "Wait until its operators have unsealed it."
    ),
    "key_provider_unreachable": Kind(503, "The key provider does not answer", LATER),
    "keyring_passphrase_missing": Kind(503, "The node's keyring is locked", OPERATOR),
    "keyring_passphrase_wrong": Kind(503, "The node's keyring is locked", OPERATOR),
    "master_key_retired": Kind(409, "The master key is being retired", LATER),
    "organisation_keys_destroyed": Kind(
        409,
        "The organisation's keys were destroyed",
        "Register the organisation anew, under another short name.",
    ),
    "master_key_in_use": Kind(
        409,
        "The master key is in use",
        "Rotate the master key and bring every organisation's key under the new one.",
    ),
    "master_key_missing": Kind(503, "The node's master key is missing", OPERATOR),
    "keyring_unusable": Kind(503, "The node's keys cannot be opened", OPERATOR),
    "log_empty": Kind(
        404, "Nothing is sealed in the log yet", "Try again in a few seconds."
    ),
    "log_range": Kind(
        404, "The log has no such range", "Start at an entry that the checkpoint covers."
    ),
    "may_not_administer": Kind(
        403, "Only administrators may do this", "Ask an administrator of the organisation."
    ),
    "may_not_manage_datasets": Kind(
        403, "Only data stewards may do this", "Ask an administrator of the organisation."
    ),
    "may_not_request_access": Kind(
        403, "Only model builders may do this", "Ask an administrator of the organisation."
    ),
    "may_not_review": Kind(
        403, "Only reviewers may do this", "Ask an administrator of the organisation."
    ),
    "may_not_submit_queries": Kind(
        403, "Only model builders may do this", "Ask an administrator of the organisation."
    ),
    "may_not_view_evidence": Kind(
        403, "Only members may see this", "Ask an administrator of the organisation."
    ),
    "may_not_view_evidence_of_all": Kind(
        403, "Only a regulator may see this", "Ask the node's regulator."
    ),
    "node_not_set_up": Kind(
        503, "The node is not set up", "Tell the node's operator: run `manage.py setup`."
    ),
    "operation_abandoned": Kind(
        503, "The work was given up after several attempts", "Start it again."
    ),
    "operation_finished": Kind(409, "The work has ended already"),
    "operation_kind_taken": Kind(500, "The node failed", OPERATOR),
    "operation_kind_unknown": Kind(500, "The node failed", OPERATOR),
    "operation_lease_lost": Kind(
        409, "Another worker does this work", "Look again: it goes on."
    ),
    "image_memory_busy": Kind(503, "Other work holds the memory", LATER),
    "images_exceed_memory": Kind(
        422,
        "The columns that are needed at once do not fit into memory",
        "Ask over fewer columns or tables.",
    ),
    "operation_not_restartable": Kind(409, "Only failed work restarts"),
    "operation_unfinished": Kind(
        409, "The work is under way already", "Wait for it to end."
    ),
    "sequencer_overtaken": Kind(
        409, "Another sequencer was faster", "Nothing is to be done."
    ),
    "limit_out_of_range": Kind(
        400, "A limit is out of this node's range", "Choose one in the range that is named."
    ),
    "limit_unknown": Kind(
        400, "A grant has no such limit", "Use the names that are listed."
    ),
    "queue_full": Kind(
        503, "The node's queue is full", "Submit it again as Retry-After says."
    ),
    "too_many_queries": Kind(
        429,
        "Too many of your queries are under way",
        "Wait until some have ended, then submit again.",
    ),
    "signing_key_unusable": Kind(503, "The node cannot sign its log", OPERATOR),
    "state_changed": Kind(
        409, "It was changed meanwhile", "Load it again, and decide anew."
    ),
}
