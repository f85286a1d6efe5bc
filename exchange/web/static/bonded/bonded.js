// What pages gain with scripts on; all of them work without. No inline handlers (CSP).
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  function toggleMenu(button) {
    const body = document.getElementById(button.getAttribute("aria-controls"));
    const open = body.classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
  }

  function focusSummary(scope) {
    const summary = scope.querySelector("[data-error-summary]");
    if (summary) summary.focus();
  }

  // A gutter of line numbers; the line at fault stands out and is scrolled to.
  function dressEditor(editor) {
    const area = editor.querySelector("textarea");
    const gutter = editor.querySelector("[data-gutter]");
    if (!area || !gutter || editor.dataset.dressed) return;
    editor.dataset.dressed = "yes";
    const draw = () => {
      const fault = Number(editor.dataset.faultLine || 0);
      const lines = area.value.split("\n").length;
      gutter.replaceChildren();
      for (let line = 1; line <= lines; line += 1) {
        const mark = document.createElement("span");
        mark.textContent = String(line);
        if (line === fault) mark.className = "at-fault";
        gutter.append(mark, "\n");
      }
      gutter.style.height = `${area.offsetHeight}px`;
      gutter.scrollTop = area.scrollTop;
    };
    area.addEventListener("input", () => {
      delete editor.dataset.faultLine;
      draw();
    });
    area.addEventListener("scroll", () => { gutter.scrollTop = area.scrollTop; });
    new ResizeObserver(draw).observe(area);
    draw();
    if (editor.dataset.faultLine) showLine(area, Number(editor.dataset.faultLine));
  }

  function showLine(area, line) {
    const height = parseFloat(getComputedStyle(area).lineHeight) || 22;
    area.scrollTop = Math.max(0, (line - 4) * height);
  }

  function jump(link) {
    const area = document.getElementById(link.dataset.jump);
    if (!area) return;
    const line = Number(link.dataset.line || 1);
    const lines = area.value.split("\n");
    let start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    let end = start + (lines[line - 1] || "").length;
    if (link.dataset.column) {
      start += Number(link.dataset.column) - 1;
      const word = /^[\w.]+/.exec(area.value.slice(start));
      end = start + (word ? word[0].length : 1);
    }
    area.focus();
    area.setSelectionRange(start, end);
    showLine(area, line);
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.textContent.trim());
    const before = button.textContent;
    button.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = before; }, 2000);
  }

  // Put the main part of an answered page in place of this one's.
  function showAnswer(text) {
    const answer = new DOMParser().parseFromString(text, "text/html");
    const main = answer.querySelector("main");
    if (!main) return null;
    document.querySelector("main").replaceWith(main);
    document.title = answer.title;
    dress(main);
    focusSummary(main);
    return main;
  }

  function sayUnreachable() {
    const notice = document.querySelector("[data-unreachable]");
    if (!notice) return;
    notice.hidden = false;
    notice.scrollIntoView({ block: "nearest" });
  }

  // The server answers 201 with Location, or the page again with its error summary.
  function sendUpload(form) {
    const request = new XMLHttpRequest();
    const box = form.querySelector("[data-upload-progress]");
    const bar = box.querySelector("progress");
    const text = box.querySelector("[data-upload-text]");
    const button = form.querySelector("button[type=submit]");
    const megabytes = (bytes) => (bytes / 1048576).toFixed(1);
    box.hidden = false;
    button.disabled = true;
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      bar.max = event.total;
      bar.value = event.loaded;
      text.textContent = event.loaded < event.total
        ? `${megabytes(event.loaded)} / ${megabytes(event.total)} MB`
        : box.dataset.sealing;
    });
    const failed = () => {
      text.textContent = box.dataset.failed;
      button.disabled = false;
    };
    request.addEventListener("error", failed);
    request.addEventListener("load", () => {
      const place = request.getResponseHeader("Location");
      if (request.status === 201 && place) {
        window.location.assign(place);
        return;
      }
      const files = form.querySelector("input[type=file]");
      const main = showAnswer(request.responseText);
      if (!main) { failed(); return; }
      const fresh = main.querySelector("input[type=file]");
      if (fresh && files && files.files.length) fresh.files = files.files;
    });
    request.open("POST", form.action);
    request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
    request.send(new FormData(form));
  }

  function dress(scope) {
    scope.querySelectorAll("[data-editor]").forEach(dressEditor);
    scope.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });
  }

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-menu], [data-jump], [data-copy]");
    if (!target) return;
    if (target.matches("[data-menu]")) toggleMenu(target);
    else if (target.matches("[data-copy]")) copy(target);
    else { event.preventDefault(); jump(target); }
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-upload]")) return;
    event.preventDefault();
    sendUpload(event.target);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-autosend]");
    if (form) form.requestSubmit();
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    dress(event.target);
    focusSummary(event.target);
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (!showAnswer(event.detail.xhr.responseText)) sayUnreachable();
  });
  document.addEventListener("htmx:sendError", sayUnreachable);
  document.addEventListener("DOMContentLoaded", () => {
    dress(document);
    focusSummary(document);
  });
})();
