
(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));

  // Errors leave a mark on the root element, where a test can see them.
  const record = (what) => {
    root.dataset.errors = (root.dataset.errors ? root.dataset.errors + " | " : "") + String(what);
  };
  addEventListener("error", (event) => record(event.message || "a resource did not load"), true);
  addEventListener("unhandledrejection", (event) => record(event.reason));
  document.addEventListener("securitypolicyviolation", (event) => record("blocked by policy: " + event.violatedDirective));

  // A tip that follows the pointer replaces the slow built-in one.
  const tip = document.getElementById("tip");
  all("[data-tip]").forEach((target) => {
    all(":scope > title", target).forEach((title) => title.remove());
    target.addEventListener("pointermove", (event) => {
      tip.textContent = target.dataset.tip;
      tip.hidden = false;
      const left = Math.min(event.clientX + 14, root.clientWidth - tip.offsetWidth - 8);
      tip.style.left = Math.max(8, left) + "px";
      tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 12) + "px";
    });
    target.addEventListener("pointerleave", () => { tip.hidden = true; });
  });

  // Pointing at a layer shows its edges alone.
  all(".topology .node").forEach((node) => {
    const picture = node.closest("svg");
    const key = node.dataset.side;
    node.addEventListener("pointerenter", () => all(".edge-group", picture).forEach((edge) => {
      edge.classList.toggle("faded", edge.dataset[key] !== node.dataset.index);
    }));
    node.addEventListener("pointerleave", () => all(".faded", picture).forEach((edge) => edge.classList.remove("faded")));
  });

  // Pointing at a line chart reads the nearest record of every line.
  const nearest = (line, step) => {
    let low = 0, high = line.x.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (line.x[middle] <= step) low = middle; else high = middle;
    }
    return Math.abs(line.x[high] - step) < Math.abs(line.x[low] - step) ? high : low;
  };
  all("script.chart-data").forEach((holder) => {
    const data = JSON.parse(holder.textContent);
    const chart = holder.previousElementSibling;
    const readOut = holder.nextElementSibling;
    const cursor = chart.querySelector(".cursor");
    const rest = chart.closest(".small") ? "" : "Point at the chart to read values.";
    readOut.textContent = rest;
    readOut.hidden = false;
    chart.addEventListener("pointermove", (event) => {
      const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse()).x;
      const place = Math.min(1, Math.max(0, (x - data.left) / (data.right - data.left)));
      const step = data.low + place * (data.high - data.low);
      cursor.setAttribute("x1", data.left + place * (data.right - data.left));
      cursor.setAttribute("x2", data.left + place * (data.right - data.left));
      cursor.style.visibility = "visible";
      const parts = data.lines.filter((line) => line.x.length).map((line) => line.name + " " + line.y[nearest(line, step)]);
      readOut.textContent = "step " + Math.round(step) + ": " + parts.join(", ");
    });
    chart.addEventListener("pointerleave", () => {
      cursor.style.visibility = "hidden";
      readOut.textContent = rest;
    });
  });

  // Sample filters. The address keeps them: #samples=disagree,1 is the second question type.
  const bar = document.querySelector(".filters");
  if (bar) {
    const cards = all(".sample");
    const chosen = { outcome: "all", kind: "all" };
    const apply = () => {
      let shown = 0;
      cards.forEach((card) => {
        const outcome = chosen.outcome === "all" || card.dataset.outcome.split(" ").includes(chosen.outcome);
        const kind = chosen.kind === "all" || card.dataset.kind === chosen.kind;
        card.hidden = !(outcome && kind);
        if (outcome && kind) shown += 1;
      });
      for (const key of ["outcome", "kind"]) {
        all("button[data-" + key + "]", bar).forEach((button) => {
          button.setAttribute("aria-pressed", String(button.dataset[key] === chosen[key]));
        });
      }
      document.getElementById("shown").textContent = String(shown);
      document.getElementById("no-sample").hidden = shown > 0;
    };
    const choose = (key, value) => {
      if (all("button[data-" + key + "]", bar).some((button) => button.dataset[key] === value)) chosen[key] = value;
    };
    const fromAddress = (move) => {
      const match = /^#samples=([a-z]+)(?:,(all|\d+))?$/.exec(location.hash);
      if (!match) return;
      choose("outcome", match[1]);
      choose("kind", match[2] || "all");
      apply();
      if (move) document.getElementById("samples").scrollIntoView();
    };
    all("button", bar).forEach((button) => button.addEventListener("click", () => {
      for (const key of ["outcome", "kind"]) if (button.dataset[key]) choose(key, button.dataset[key]);
      apply();
      history.replaceState(null, "", "#samples=" + chosen.outcome + "," + chosen.kind);
    }));
    bar.hidden = false;
    fromAddress(true);
    addEventListener("hashchange", () => fromAddress(true));
  }

  // Copy buttons, where the browser allows them.
  if (navigator.clipboard) {
    all("button[data-copy]").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => {
        navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent)
          .then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Not allowed"; })
          .then(() => setTimeout(() => { button.textContent = "Copy"; }, 1600));
      });
    });
  }

  // The navigation marks the section in view.
  const links = all("nav a");
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => {
      if (link.hash === "#" + entry.target.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  }), { rootMargin: "-15% 0px -75% 0px" });
  all("section").forEach((part) => watcher.observe(part));

  // Paper shows everything.
  addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));

  root.dataset.ready = "1";
})();
