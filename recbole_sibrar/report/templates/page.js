"use strict";
const MOST_COLUMNS = 16; // as in the style of .few
const numeric = (text) => text !== "" && !Number.isNaN(Number(text));

for (const box of document.querySelectorAll(".table")) {
  const body = box.querySelector("tbody"), headings = [...box.querySelectorAll("th")];
  const valueOf = (row, column) => row.cells[column].dataset.v;

  const sort = (column) => {
    const rising = headings[column].getAttribute("aria-sort") === "descending";
    const sign = rising ? 1 : -1;
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...body.rows];
    rows.sort((first, second) => {
      const [a, b] = [valueOf(first, column), valueOf(second, column)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (numeric(a) && numeric(b) ? a - b : -a.localeCompare(b));
    });
    body.append(...rows);
  };
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => sort(column)));

  const tools = document.createElement("div");
  tools.className = "tools";
  if ("search" in box.dataset) {
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = "Search";
    search.setAttribute("aria-label", `Search in ${box.dataset.name}`);
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    tools.append(search);
  }
  const download = document.createElement("button");
  download.type = "button";
  download.textContent = "CSV";
  download.addEventListener("click", () => {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [headings.map((heading) => heading.textContent.trim())];
    for (const row of body.rows) if (!row.hidden) lines.push([...row.cells].map((cell) => cell.dataset.v));
    const text = lines.map((cells) => cells.map(quoted).join(",")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${box.dataset.name.replace(/[^\w.-]+/g, "-")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  tools.append(download);
  if (headings.length > MOST_COLUMNS) {
    const more = document.createElement("button");
    more.type = "button";
    const fewer = (are) => {
      box.classList.toggle("few", are);
      more.textContent = are ? `all ${headings.length} columns` : "fewer columns";
    };
    more.addEventListener("click", () => fewer(!box.classList.contains("few")));
    fewer(true);
    tools.append(more);
  }
  box.prepend(tools);
}

const tip = document.getElementById("tip");
const show = ({ target }) => {
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  const at = target.getBoundingClientRect(), size = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - size.width - 8))}px`;
  tip.style.top = `${at.top > size.height + 8 ? at.top - size.height - 6 : at.bottom + 6}px`;
};
const hide = () => { tip.hidden = true; };
for (const explained of document.querySelectorAll("[data-tip]")) {
  explained.addEventListener("mouseenter", show);
  explained.addEventListener("focus", show);
  explained.addEventListener("mouseleave", hide);
  explained.addEventListener("blur", hide);
}
