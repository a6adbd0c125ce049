// Sort a table by a click (or Enter) on a heading: numbers by data-value, else text.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = table.querySelectorAll("thead th");
  headings.forEach((heading, column) => {
    heading.setAttribute("data-sort", "");
    heading.tabIndex = 0;
    const sort = () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach(other => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map(row => {
        const cell = row.cells[column];
        const value = cell.dataset.value;
        return { row, text: cell.textContent.trim(), number: value === undefined ? null : parseFloat(value) };
      });
      rows.sort((a, b) => {
        if (a.number !== null || b.number !== null) {
          const noA = a.number === null || isNaN(a.number), noB = b.number === null || isNaN(b.number);
          if (noA || noB) return noA - noB;
          return up ? a.number - b.number : b.number - a.number;
        }
        const order = a.text.localeCompare(b.text, undefined, { numeric: true });
        return up ? order : -order;
      });
      body.append(...rows.map(entry => entry.row));
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
