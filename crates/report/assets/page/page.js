"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);

  /** An element with text or children; nothing is ever parsed as HTML. */
  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name === "class") element.className = value;
      else if (name in element && name !== "list") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "\u2212"));
  const signed = (value, digits) => (value > 0 ? "+" : "") + fixed(value, digits);

  /** A labelled select; `all` is the word for no choice. */
  function select(into, label, options, all, changed) {
    const id = "field-" + label.toLowerCase().replaceAll(/[^a-z]+/g, "-");
    const box = make("select", { id });
    if (all) box.append(make("option", { value: "" }, all));
    options.forEach((option, index) => box.append(make("option", { value: String(index) }, option)));
    box.addEventListener("change", changed);
    into.append(make("div", { class: "field" }, make("label", { htmlFor: id }, label), box));
    return box;
  }

  function results(rows) {
    const CHUNK = 100;
    const MODEL = 0, LABEL = 1, PROTOCOL = 2, TASK = 3, ASKED = 4, SITES = 5, METRIC = 6, N = 7, ACHIEVED = 8, VALUE = 9, DIFF = 12, P = 15, FLAGS = 16;
    const LOWER = 1, APART = 2;
    const scale = (row) => (row[FLAGS] & LOWER ? 1 : 100);
    const digits = (row) => (row[FLAGS] & LOWER ? 3 : 1);
    const interval = (row, from, show) => {
      const k = scale(row), d = digits(row);
      const low = row[from + 1], high = row[from + 2];
      const ends = low === null || high === null ? "" : ` [${fixed(low * k, d)}, ${fixed(high * k, d)}]`;
      return [show(row[from] * k, d), make("span", { class: "ci" }, ends)];
    };
    const columns = [
      { name: "model", key: (row) => row[MODEL], cell: (row) => rows.models[row[MODEL]] },
      { name: "strategy", key: (row) => rows.labels[row[LABEL]], cell: (row) => make("code", {}, rows.labels[row[LABEL]]) },
      { name: "protocol", key: (row) => row[PROTOCOL], cell: (row) => rows.protocols[row[PROTOCOL]] },
      { name: "sites", key: (row) => rows.sites[row[SITES]], cell: (row) => rows.sites[row[SITES]], only: rows.sites.filter((text) => text).length > 1 },
      { name: "task", key: (row) => row[TASK], cell: (row) => rows.tasks[row[TASK]] },
      { name: "metric", key: (row) => rows.metrics[row[METRIC]], cell: (row) => rows.metrics[row[METRIC]] },
      { name: "asked", key: (row) => row[ASKED], cell: (row) => rows.asked[row[ASKED]], number: true },
      { name: "achieved %", key: (row) => row[ACHIEVED], cell: (row) => fixed(row[ACHIEVED] * 100, 1) + (row[FLAGS] & APART ? " " + rows.mark : ""), number: true },
      { name: "value [95 %]", key: (row) => row[VALUE], cell: (row) => interval(row, VALUE, fixed), number: true },
      {
        name: "to " + rows.baseline + " [95 %]", key: (row) => row[DIFF], number: true,
        cell: (row) => (row[DIFF] === null ? "–" : interval(row, DIFF, signed)),
        look: (row) => {
          if (row[DIFF] === null || !(row[DIFF + 1] > 0 || row[DIFF + 2] < 0)) return "";
          return row[DIFF] > 0 === !(row[FLAGS] & LOWER) ? " up" : " down";
        },
      },
      { name: "p", key: (row) => row[P], cell: (row) => (row[P] === null ? "–" : row[P] < 0.001 ? "<0.001" : row[P].toFixed(3)), number: true },
      { name: "n", key: (row) => row[N], cell: (row) => String(row[N]), number: true },
    ].filter((column) => column.only !== false);

    const filters = at("filters");
    let shown = [], drawn = 0, by = null, down = false;
    const changed = () => update();
    const boxes = [
      [MODEL, select(filters, "Model", rows.models, rows.models.length > 1 && "all models", changed)],
      [LABEL, select(filters, "Strategy", rows.labels, "all strategies", changed)],
      [PROTOCOL, select(filters, "Protocol", rows.protocols, rows.protocols.length > 1 && "all protocols", changed)],
      [TASK, select(filters, "Task", rows.tasks, rows.tasks.length > 1 && "all tasks", changed)],
      [ASKED, select(filters, "Reduction asked for", rows.asked, rows.asked.length > 1 && "all reductions", changed)],
    ];
    if (rows.mean !== null) boxes[3][1].value = String(rows.mean);
    const reset = make("button", { type: "button" }, "Show all");
    reset.addEventListener("click", () => {
      for (const [, box] of boxes) box.selectedIndex = 0;
      by = null;
      update();
    });
    filters.append(reset);

    const head = at("rows").tHead, body = at("rows").tBodies[0], more = at("more");
    const heads = columns.map((column) => {
      const button = make("button", { type: "button" }, column.name);
      const cell = make("th", { scope: "col", class: column.number ? "n" : "" }, button);
      button.addEventListener("click", () => {
        down = by === column ? !down : Boolean(column.number);
        by = column;
        update();
      });
      return cell;
    });
    head.append(make("tr", {}, ...heads));

    function draw() {
      const part = document.createDocumentFragment();
      for (const row of shown.slice(drawn, drawn + CHUNK)) {
        const line = make("tr", {});
        for (const column of columns) {
          const cell = column.cell(row);
          const look = column.look ? column.look(row) : "";
          line.append(make("td", { class: (column.number ? "n" : "") + look }, ...(Array.isArray(cell) ? cell : [cell])));
        }
        part.append(line);
      }
      body.append(part);
      drawn = Math.min(drawn + CHUNK, shown.length);
      more.hidden = drawn >= shown.length;
      at("count").textContent = `${shown.length} of ${rows.r.length} rows` + (drawn < shown.length ? `, the first ${drawn} drawn` : "");
    }

    function update() {
      const wanted = boxes.filter(([, box]) => box.value !== "").map(([field, box]) => [field, Number(box.value)]);
      shown = rows.r.filter((row) => wanted.every(([field, value]) => row[field] === value));
      if (by) {
        const key = by.key, sign = down ? -1 : 1;
        shown.sort((a, b) => {
          const x = key(a), y = key(b);
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
        });
      }
      columns.forEach((column, index) => {
        if (column === by) heads[index].setAttribute("aria-sort", down ? "descending" : "ascending");
        else heads[index].removeAttribute("aria-sort");
      });
      body.replaceChildren();
      drawn = 0;
      draw();
    }

    more.addEventListener("click", draw);
    // All rows on paper.
    window.addEventListener("beforeprint", () => { while (drawn < shown.length && drawn < 1000) draw(); });
    update();
  }

  function items(all) {
    const CHUNK = 10;
    const pick = at("pick"), out = at("shown"), more = at("more-items");
    const scene = select(pick, "Model, protocol, task", all.scenes.map((one) => one.name), null, () => { fill(); update(); });
    const a = select(pick, "Arm A", [], null, () => update());
    const b = select(pick, "Arm B", [], null, () => update());
    const which = select(pick, "Show", ["items that B loses", "items that B gains", "all items of this page"], null, () => update());
    let list = [], drawn = 0;

    /** The arms of the chosen scene; B is the first that loses something. */
    function fill() {
      const { arms } = all.scenes[scene.value];
      for (const box of [a, b]) box.replaceChildren(...arms.map((arm, index) => make("option", { value: String(index) }, arm.name)));
      const loses = arms.findIndex((arm, index) => index > 0 && differing(arms[0], arm, "1", "0") > 0);
      a.value = "0";
      b.value = String(loses > 0 ? loses : Math.min(1, arms.length - 1));
    }

    /** Number of items that one arm answers as `x` and the other as `y`. */
    function differing(first, second, x, y) {
      let count = 0;
      for (let i = 0; i < first.right.length; i++) count += first.right[i] === x && second.right[i] === y;
      return count;
    }

    function update() {
      const { arms, items: own } = all.scenes[scene.value];
      const [first, second] = [arms[a.value], arms[b.value]];
      const wanted = [(i) => first.right[i] === "1" && second.right[i] === "0", (i) => first.right[i] === "0" && second.right[i] === "1", () => true][which.value];
      list = own.map((item, place) => [item, place]).filter(([item]) => wanted(item.i));
      const lost = differing(first, second, "1", "0"), gained = differing(first, second, "0", "1");
      const whole = [lost, gained, first.right.length][which.value];
      at("lost").textContent = `Of ${first.right.length} items B loses ${lost} and gains ${gained}` +
        (list.length < whole ? `; this page holds ${list.length} of the ${whole}.` : ".");
      out.replaceChildren();
      drawn = 0;
      draw();
    }

    function draw() {
      const { arms } = all.scenes[scene.value];
      for (const [item, place] of list.slice(drawn, drawn + CHUNK)) out.append(card(item, [arms[a.value], arms[b.value]], place));
      drawn = Math.min(drawn + CHUNK, list.length);
      more.hidden = drawn >= list.length;
    }

    function card(item, arms, place) {
      const text = all.texts[item.t];
      const sides = arms.map((arm) => arm.items[place]);
      const word = { 1: "right", 0: "wrong" };
      const verdict = arms.map((arm, index) => `${"AB"[index]} ${word[arm.right[item.i]] || "scored"}`).join(", ");
      const box = make("article", { class: "item" }, make("h3", {}, text.id, make("span", { class: "v" }, " · " + verdict)));
      const removes = sides.map((side) => side && (side.f === null || side.f.length > 0));
      sides.forEach((side, index) => {
        // A text without a removed token is shown once, where neither arm removes any.
        if (!side || !(removes[index] || (index === 1 && !removes[0]))) return;
        box.append(marked(text, side, "AB"[index]));
        if (side.f === null) box.append(make("p", { class: "note" }, `The plan of ${"AB"[index]} is not recorded for this item: record_plans of the experiment asks for it.`));
      });
      box.append(scores(text, sides));
      return box;
    }

    /** The text with its removed tokens struck out. */
    function marked(text, side, name) {
      const paragraph = make("p", { class: "text", tabIndex: 0, role: "group", "aria-label": `Text under ${name}` }, make("span", { class: "who" }, name + " "));
      const fates = new Map((side.f || []).map((fate) => [fate[0], fate]));
      const sites = [...new Set((side.f || []).map((fate) => fate[1]))].sort((x, y) => x - y);
      const shade = (site) => (sites.length < 2 ? 0 : Math.min(3, Math.floor((4 * sites.indexOf(site)) / sites.length)));
      const necessary = new Set(text.necessary);
      // A longer sequence is that of another choice, with the padding of its batch.
      const length = side.n === text.tokens.length ? side.n : text.context;
      const spans = [];
      text.tokens.slice(0, length).forEach((token, position) => {
        const body = token.trimStart();
        paragraph.append(token.slice(0, token.length - body.length));
        const fate = fates.get(position);
        const need = necessary.has(position) ? " need" : "";
        if (!fate && !need) {
          spans[position] = make("span", {}, body);
          paragraph.append(spans[position]);
          return;
        }
        const [, site, into] = fate || [];
        const merged = into !== undefined && into !== null;
        const mark = make(fate ? "s" : "span", { class: (fate ? `${merged ? "m" : "d"} s${shade(site)}` : "") + need }, body || "\u2423");
        if (fate) mark.title = merged ? `layer ${site}: merged into token ${into} (${(text.tokens[into] || "").trim()})` : `layer ${site}: dropped`;
        if (merged) {
          const light = (on) => () => spans[into] && spans[into].classList.toggle("into", on);
          mark.tabIndex = 0;
          mark.setAttribute("role", "note");
          mark.setAttribute("aria-label", `${body}, ${mark.title}`);
          mark.addEventListener("mouseenter", light(true));
          mark.addEventListener("mouseleave", light(false));
          mark.addEventListener("focus", light(true));
          mark.addEventListener("blur", light(false));
        }
        spans[position] = mark;
        paragraph.append(mark);
      });
      return paragraph;
    }

    /** The log-likelihood of every choice under both arms. */
    function scores(text, sides) {
      const names = text.choices.length ? text.choices : text.target === null ? (sides[1] || sides[0]).l.map((_, index) => `window ${index + 1}`) : [text.target];
      const head = make("tr", {}, make("th", { scope: "col" }, text.choices.length ? "choice" : text.target === null ? "text" : "target"),
        make("th", { scope: "col", class: "n" }, "log-lik. A"), make("th", { scope: "col", class: "n" }, "log-lik. B"));
      const table = make("table", {}, make("thead", {}, head));
      const body = make("tbody", {});
      names.forEach((name, index) => {
        const gold = text.choices.length > 0 && index === text.gold;
        const line = make("tr", { class: gold ? "gold" : "" }, make("td", { class: "t" }, name.trim() + (gold ? "  ✓ right" : "")));
        for (const side of sides) {
          const value = side && side.l[index] !== undefined ? fixed(side.l[index], 3) : "–";
          const chosen = side && text.choices.length > 0 && side.p === index;
          line.append(make("td", { class: "n" }, value + (chosen ? " ◂ chosen" : "")));
        }
        body.append(line);
      });
      table.append(body);
      return table;
    }

    more.addEventListener("click", draw);
    fill();
    update();
  }

  if (data.rows) results(data.rows);
  if (data.items) items(data.items);
})();
