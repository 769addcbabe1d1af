(() => {
const dark = matchMedia("(prefers-color-scheme: dark)");
const onLight = ["#0072b2", "#d55e00", "#009e73", "#8007ed", "#b8860b", "#c4527f", "#56b4e9", "#7a533b", "#6b8e23", "#4f4d65"];
const onDark = ["#4aa3e0", "#f0955a", "#2fc39a", "#b07cff", "#e0b13a", "#ef8fb5", "#a5d8f7", "#c79a7e", "#a3c75a", "#a9a7c4"];
const color = (label) => (dark.matches ? onDark : onLight)[label % onLight.length];
const byId = (id) => document.getElementById(id);
const data = byId("map-data") && JSON.parse(byId("map-data").textContent);
if (data) {
  const canvas = byId("map-canvas"), pen = canvas.getContext("2d"), sprite = byId("map-sprite");
  const width = 960, height = 600, count = data.x.length, columns = Math.ceil(Math.sqrt(count));
  let only = -1, least = 0, chosen = -1;
  canvas.width = width; canvas.height = height;
  byId("map-tools").hidden = false;
  const place = (i) => [20 + data.x[i] / 1000 * (width - 40), 20 + data.y[i] / 1000 * (height - 40)];
  const shown = (i) => (only < 0 || data.class[i] === only) && (data.kind[i] === 0 || data.sure[i] >= least);
  const draw = () => {
    const ink = getComputedStyle(canvas).color;
    pen.clearRect(0, 0, width, height);
    for (const kind of [1, 2, 0]) for (let i = 0; i < count; i++) {
      if (data.kind[i] !== kind) continue;
      const [x, y] = place(i);
      pen.globalAlpha = shown(i) ? (kind === 1 ? 0.8 : 1) : 0.07;
      pen.fillStyle = color(data.class[i]);
      pen.strokeStyle = ink; pen.lineWidth = 2;
      pen.beginPath();
      if (kind === 0) { pen.rect(x - 5, y - 5, 10, 10); pen.fill(); pen.lineWidth = 1.5; pen.stroke(); }
      else if (kind === 2) { pen.moveTo(x - 5, y - 5); pen.lineTo(x + 5, y + 5); pen.moveTo(x + 5, y - 5); pen.lineTo(x - 5, y + 5); pen.stroke(); }
      else { pen.arc(x, y, 3.2, 0, 7); pen.fill(); }
    }
    pen.globalAlpha = 1;
    if (chosen >= 0) { const [x, y] = place(chosen); pen.beginPath(); pen.arc(x, y, 9, 0, 7); pen.stroke(); }
    byId("map-kept").textContent = data.counts[least].toLocaleString("en") + " of " + data.checked.toLocaleString("en") + " unlabeled images have at least this confidence";
  };
  const show = (i) => {
    if (i < 0) return;
    chosen = i;
    const view = byId("map-view"), size = 144;
    view.style.backgroundImage = "url(" + sprite.src + ")";
    view.style.backgroundSize = columns * size + "px auto";
    view.style.backgroundPosition = -(i % columns) * size + "px " + -Math.floor(i / columns) * size + "px";
    const name = "\u2068" + (data.names[data.class[i]] || "class " + data.class[i]) + "\u2069";
    const what = data.kind[i] === 0 ? "your label: " + name : "the model says " + name + ", " + data.sure[i] + "%";
    byId("map-text").textContent = "\u2068" + data.key[i] + "\u2069: " + what + (data.kind[i] === 2 ? "; far from every labeled image" : "");
    draw();
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * width / box.width, y = (event.clientY - box.top) * height / box.height;
    let best = -1, least_distance = 1e9;
    for (let i = 0; i < count; i++) {
      if (!shown(i)) continue;
      const [px, py] = place(i), distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least_distance) { least_distance = distance; best = i; }
    }
    show(best);
  };
  const step = (by) => {
    for (let tried = 0, i = chosen; tried < count; tried++) {
      i = (i + by + count) % count;
      if (shown(i)) return show(i);
    }
  };
  canvas.addEventListener("pointermove", at);
  canvas.addEventListener("pointerdown", at);
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  byId("map-confidence").addEventListener("input", (event) => {
    least = +event.target.value;
    byId("map-level").textContent = least + "%";
    draw();
  });
  for (const chip of document.querySelectorAll("#map-tools button")) {
    chip.addEventListener("click", () => {
      only = +chip.dataset.class;
      for (const other of document.querySelectorAll("#map-tools button")) other.setAttribute("aria-pressed", other === chip);
      draw();
    });
  }
  const paint = () => {
    for (const chip of document.querySelectorAll("#map-tools button[data-class]:not([data-class='-1'])")) {
      chip.style.setProperty("--chip", color(+chip.dataset.class));
    }
    draw();
  };
  dark.addEventListener("change", paint);
  paint();
}
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending", body = table.tBodies[0];
      const value = (row) => row.cells[column].textContent.trim(), number = (row) => parseFloat(value(row).replace(/,/g, ""));
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [number(a), number(b)];
        const order = isNaN(x) || isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
        return down ? -order : order;
      });
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(button.previousElementSibling);
    if (document.execCommand("copy")) button.textContent = "copied";
  });
}
})();
