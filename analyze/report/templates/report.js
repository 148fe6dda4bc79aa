"use strict";
// Sorts a table by a column on a click on its heading: numbers by value, empty cells last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim().replace("\u2212", "-");
    const number = parseFloat(text.replace(/^[<>]/, ""));
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => ({ row, key: value(row, column) }));
      rows.sort((a, b) => {
        if ((a.key === "") !== (b.key === "")) return a.key === "" ? 1 : -1;
        return down ? compare(b.key, a.key) : compare(a.key, b.key);
      });
      body.append(...rows.map((entry) => entry.row));
    });
  });
}

// The readings of the answer's table: one at a time.
for (const fieldset of document.querySelectorAll("fieldset.reading")) {
  fieldset.hidden = false;
  for (const radio of fieldset.querySelectorAll("input")) {
    const show = () => {
      if (radio.checked) document.getElementById(radio.dataset.table).dataset.reading = radio.value;
    };
    radio.addEventListener("change", show);
    show();
  }
}

// The losses shown, in tables and figures alike.
const choose = document.getElementById("choose");
if (choose) {
  choose.hidden = false;
  const boxes = [...choose.querySelectorAll("input")];
  const marked = [...document.querySelectorAll("[data-loss]")].filter((e) => !choose.contains(e));
  const figures = [...document.querySelectorAll("figure[data-losses]")];
  const show = () => {
    const chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    for (const e of marked) e.classList.toggle("off", !chosen.has(e.dataset.loss));
    for (const figure of figures) {
      const some = JSON.parse(figure.dataset.losses).some((loss) => chosen.has(loss));
      figure.classList.toggle("off", !some);
    }
    const all = chosen.size === boxes.length ? "all " : "";
    const of = all ? "" : ` of ${boxes.length}`;
    document.getElementById("shown").textContent = `${all}${chosen.size}${of}`;
  };
  choose.addEventListener("change", show);
  for (const button of choose.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const best = new Set(
        [...document.querySelectorAll("tr[data-best]")].map((row) => row.dataset.loss),
      );
      const kind = button.dataset.choose;
      for (const box of boxes) box.checked = kind === "all" || (kind === "best" && best.has(box.value));
      show();
    });
  }
}

// A loss under the pointer or the focus stands out in the figures.
const drawn = [...document.querySelectorAll("svg [data-loss]")];
let lit = null;
const light = (event) => {
  const loss = event.target.closest?.("[data-loss]")?.dataset.loss ?? null;
  if (loss === lit) return;
  lit = loss;
  for (const e of drawn) e.classList.toggle("dim", loss !== null && e.dataset.loss !== loss);
};
document.addEventListener("pointerover", light);
document.addEventListener("focusin", light);

// Copies a table as it is shown.
const cells = (row) => [...row.cells].filter((cell) => getComputedStyle(cell).display !== "none");
const text = (cell) => {
  const copy = cell.cloneNode(true);
  for (const small of copy.querySelectorAll("small")) small.textContent = ` (${small.textContent})`;
  return copy.textContent.trim().replace(/\s+/g, " ");
};
const written = {
  csv: (rows) => rows.map((row) => row.map((t) => (/[",]/.test(t) ? `"${t.replaceAll('"', '""')}"` : t)).join(",")),
  markdown: (rows) => {
    const line = (row) => `| ${row.map((t) => t.replaceAll("|", "\\|")).join(" | ")} |`;
    return [line(rows[0]), `|${rows[0].map((_, i) => (i ? " ---: |" : " --- |")).join("")}`, ...rows.slice(1).map(line)];
  },
  latex: (rows) => {
    const escaped = (t) =>
      t.replaceAll("\\", "\\textbackslash ").replace(/[&%$#_{}]/g, "\\$&").replaceAll("\u2212", "$-$")
        .replaceAll("\u2605", "$\\star$").replaceAll("\u25b2", "$\\blacktriangle$").replaceAll("\u25bc", "$\\blacktriangledown$")
        .replaceAll("\u00b1", "$\\pm$").replaceAll("\u2020", "\\dag ").replaceAll("\u2021", "\\ddag ").replaceAll("\u2248", "$\\approx$").replaceAll("\u00a7", "\\S ");
    const line = (row) => `${row.map(escaped).join(" & ")} \\\\`;
    const columns = `l${"r".repeat(rows[0].length - 1)}`;
    return [`\\begin{tabular}{${columns}}`, "\\hline", line(rows[0]), "\\hline", ...rows.slice(1).map(line), "\\hline", "\\end{tabular}"];
  },
};
for (const place of document.querySelectorAll(".copy")) {
  place.hidden = false;
  for (const button of place.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      const table = document.getElementById(button.dataset.table);
      const rows = [...table.rows].filter((row) => !row.matches(".off, .purpose"));
      const lines = written[button.dataset.copy](rows.map((row) => cells(row).map(text)));
      const status = place.querySelector("[role=status]");
      try {
        await navigator.clipboard.writeText(`${lines.join("\n")}\n`);
        status.textContent = "copied";
      } catch {
        status.textContent = "the browser does not allow copying";
      }
    });
  }
}

// A link into a folded part opens it.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
