/* What a reader does with the page: tables that are sorted and filtered, Bokeh's charts and their controls, and folds
   that open on paper. Names are user data: they enter the page as text, never as markup. */
(() => {
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, text, properties = {}) => Object.assign(document.createElement(tag), {textContent: text}, properties);
const asked = field => field.value.trim().toLowerCase();

// --- tables ----------------------------------------------------------------------------------------------------------

const missing = "–";
const numberOf = text => Number(text.replaceAll(",", "").replace("−", "-").replace("∞", "Infinity"));
const compare = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
};

class Table {
  static of = new Map();  // by its element

  constructor(holder) {
    const table = holder.querySelector("table");
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows];
    this.heads = [...table.tHead.rows[0].cells];
    this.titles = this.heads.map(head => head.textContent.toLowerCase());
    this.passes = () => true;  // what a chart asks of a row besides
    this.changed = () => {};
    this.heads.forEach((head, column) => {
      if (!head.textContent) return;
      const button = make("button", head.textContent, {type: "button", onclick: () => this.sort(column)});
      head.replaceChildren(button);
    });
    const tools = make("div", "", {className: "tools"}), label = make("label", "filter ");
    this.filter = make("input", "", {type: "search", placeholder: "words, column < number", autocomplete: "off"});
    this.filter.addEventListener("input", () => this.apply());
    this.count = make("output", "");
    label.append(this.filter);
    tools.append(label, this.count);
    holder.before(tools);
    Table.of.set(table, this);
  }

  sort(column) {
    const head = this.heads[column], down = head.getAttribute("aria-sort") === "ascending";
    this.heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const text = row => row.cells[column].textContent, sign = down ? -1 : 1;
    const isNumber = head.classList.contains("number");
    this.body.append(...this.rows.sort((one, other) => {
      const [a, b] = [text(one), text(other)];
      if (a === missing || b === missing) return (a === missing) - (b === missing);
      return sign * (isNumber ? numberOf(a) - numberOf(b) : a.localeCompare(b, "en", {numeric: true}));
    }));
  }

  /* Parts between commas must all hold: "column < number" of a column, anything else of the row's text. */
  condition(part) {
    const [, name, sign, value] = part.match(/^(.+?)\s*(<=|>=|<|>|=)\s*(.+)$/) ?? [];
    const column = this.titles.indexOf(name?.replaceAll("_", " "));
    if (column < 0) return row => row.textContent.toLowerCase().includes(part);
    const wanted = Number(value);
    return row => {
      const text = row.cells[column].textContent.toLowerCase();
      return text !== missing && (isNaN(wanted) ? compare[sign](text, value) : compare[sign](numberOf(text), wanted));
    };
  }

  apply() {
    const conditions = asked(this.filter).split(",").map(part => part.trim()).filter(Boolean).map(part => this.condition(part));
    for (const row of this.rows) {  // references stay, to compare with
      const kept = this.passes(row) && conditions.every(holds => holds(row));
      row.hidden = !kept && !row.classList.contains("muted");
    }
    const hidden = this.rows.filter(row => row.hidden).length;
    this.count.textContent = hidden ? `${this.rows.length - hidden} of ${this.rows.length} rows` : "";
    this.changed();
  }
}

// --- charts: what their controls do, by kind -------------------------------------------------------------------------

/* The matrix: entries shown by what they are and by name, a block enlarged, and arrow keys from entry to entry. */
function matrix({part, model, plot}) {
  const entries = model("entries"), {data} = entries, [shown, wrong, unsure] = ["shown", "wrong", "unsure"].map(model);
  const places = Array.from(data.x, (_, place) => place);
  const kinds = {
    all: () => true, wrong: i => data.wrong[i], unsure: i => data.unsure[i], either: i => data.wrong[i] || data.unsure[i],
  };
  const show = part("[name=show]"), find = part("[name=find]"), chart = part(".chart"), says = part(".entry");

  const apply = () => {
    const name = asked(find), named = i => `${data.metabolite[i]} ${data.reaction[i]}`.toLowerCase().includes(name);
    shown.indices = places.filter(i => kinds[show.value](i) && named(i));
    wrong.indices = shown.indices.filter(i => data.wrong[i]);
    unsure.indices = shown.indices.filter(i => data.unsure[i]);
    part("[name=count]").textContent = `${shown.indices.length} of ${places.length} entries`;
  };
  show.addEventListener("change", apply);
  find.addEventListener("input", apply);
  apply();

  const whole = [plot.x_range, plot.y_range].map(range => [range.start, range.end]);
  const view = (left, right, top, bottom) => {
    plot.x_range.setv({start: left, end: right});
    plot.y_range.setv({start: bottom, end: top});
  };
  part("[name=whole]").onclick = () => view(whole[0][0], whole[0][1], whole[1][1], whole[1][0]);
  part("[name=block]").onclick = () => {
    if (!shown.indices.length) return;
    const [x, y] = [data.x, data.y].map(column => shown.indices.map(i => column[i]));
    view(Math.min(...x) - 1.5, Math.max(...x) + 1.5, Math.min(...y) - 1.5, Math.max(...y) + 1.5);
  };

  const number = value => (Number.isInteger(value) ? String(value) : value.toFixed(3)).replace("-", "−");
  entries.selected.properties.indices.change.connect(() => {
    const [i] = entries.selected.indices;
    if (i === undefined) return;
    const values = ["learned", "integer", "true", "confidence"].map(name => `${name} ${number(data[name][i])}`);
    says.textContent = `${data.metabolite[i]} in ${data.reaction[i]}: ${values.join(", ")}`;
  });
  const steps = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]};
  chart.addEventListener("keydown", event => {
    const step = steps[event.key], [from] = entries.selected.indices;
    if (!step) return;
    event.preventDefault();
    let next = from === undefined ? shown.indices[0] : undefined, least = Infinity;
    for (const i of next === undefined ? shown.indices : []) {
      const [x, y] = [data.x[i] - data.x[from], data.y[i] - data.y[from]];
      const along = x * step[0] + y * step[1], across = Math.abs(x * step[1]) + Math.abs(y * step[0]);
      if (along > 0 && along + 3 * across < least) [next, least] = [i, along + 3 * across];
    }
    if (next !== undefined) entries.selected.indices = [next];
  });
}

/* Loss over steps: fits picked in the list, or on their line. */
function curves({part, model, content}) {
  const {fits, steps, measures, colours, dashes} = content, [others, picked] = [model("others"), model("picked")];
  const measure = part("[name=measure]"), find = part("[name=find]"), slots = new Map();
  measure.append(...Object.keys(measures).map(name => make("option", name)));

  const choices = fits.map((fit, place) => {
    const label = make("label", ""), box = make("input", "", {type: "checkbox", checked: content.picked[place]});
    const line = make("i", "");
    label.append(box, line, fit);
    box.addEventListener("change", () => apply());
    return {label, box, line};
  });
  part(".choices").append(...choices.map(choice => choice.label));

  const apply = () => {
    const rows = {true: [], false: []};
    choices.forEach(({box, line}, place) => {
      if (!box.checked) slots.delete(place);
      else if (!slots.has(place)) slots.set(place, [...Array(slots.size + 1).keys()].find(slot => ![...slots.values()].includes(slot)));
      const slot = slots.get(place) ?? 0, look = {colour: colours[slot % colours.length], dash: dashes[slot % dashes.length]};
      line.style.borderTop = box.checked ? `3px ${look.dash} ${look.colour}` : "";
      const values = measures[measure.value][place];
      if (values) rows[box.checked].push({xs: steps[place], ys: values.map(value => value ?? NaN), fit: fits[place], place, ...look});
    });
    for (const [source, found] of [[others, rows.false], [picked, rows.true]])
      source.data = Object.fromEntries(["xs", "ys", "fit", "place", "colour", "dash"].map(key => [key, found.map(row => row[key])]));
  };
  apply();

  measure.addEventListener("change", apply);
  find.addEventListener("input", () => {
    choices.forEach(({label}, place) => { label.hidden = !fits[place].toLowerCase().includes(asked(find)); });
  });
  part("[name=none]").onclick = () => {
    choices.forEach(({box}) => { box.checked = false; });
    apply();
  };
  others.selected.properties.indices.change.connect(() => {
    const places = others.selected.indices.map(i => others.data.place[i]);
    if (!places.length) return;
    others.selected.indices = [];
    places.forEach(place => { choices[place].box.checked = true; });
    apply();
  });
}

/* Every fit a line: brushes and the table's filter keep the same ones. */
function fits({part, model, content}) {
  const rows = content.rows.map(id => document.getElementById(id)), places = new Map(rows.map((row, place) => [row, place]));
  const table = Table.of.get(rows[0].closest("table"));
  const [crossings, shown, pointed] = ["crossings", "shown", "pointed"].map(model);
  crossings.selected.properties.indices.change.connect(() => {
    const brushes = new Map();  // axis -> fits that pass there
    for (const i of crossings.selected.indices) {
      const axis = Math.floor(i / rows.length);
      if (!brushes.has(axis)) brushes.set(axis, new Set());
      brushes.get(axis).add(i % rows.length);
    }
    table.passes = row => [...brushes.values()].every(kept => kept.has(places.get(row)));
    table.apply();
  });
  table.changed = () => {
    shown.indices = [...rows.keys()].filter(place => !rows[place].hidden);
    part("[name=count]").textContent = `${shown.indices.length} of ${rows.length} fits`;
  };
  table.apply();
  part("[name=clear]").onclick = () => { crossings.selected.indices = []; };
  rows.forEach((row, place) => {
    row.addEventListener("mouseenter", () => { pointed.indices = [place]; });
    row.addEventListener("mouseleave", () => { pointed.indices = []; });
  });
}

/* One reaction at a time, found by name or by what is known of it, or by its square on the map. */
function reactions({part, model, content, live}) {
  const flux = model("flux"), list = part("[name=reaction]"), find = part("[name=find]"), show = part("[name=show]");
  const known = content.reactions, about = part(".about dl");
  const options = known.map(({name}, place) => make("option", name, {value: place}));
  show.append(...[...new Set(known.flatMap(({kinds}) => kinds))].map(kind => make("option", kind)));
  if (!content.time) part(".chart").hidden = true;

  const pick = place => {
    const {name, lines, row} = known[place];
    list.value = place;
    part("h4").replaceChildren(make("a", name, {href: `#${row}`}));
    about.replaceChildren(...lines.flatMap(([key, value]) =>
      [make("dt", key), ...[value].flat().map(text => make("dd", text))]));
    const column = values => values.map(value => value ?? NaN);
    if (content.time) flux.data = {
      time: content.time, recovered: column(content.recovered[place]), true: content.true ? column(content.true[place]) : content.time,
    };
  };
  const onMap = document.querySelector(".map [type=search]");
  if (onMap) {  // this search is the map's, too
    onMap.closest("label").hidden = true;
    onMap.addEventListener("input", () => {
      if (find.value === onMap.value) return;
      find.value = onMap.value;
      show.value = "";
      apply();
    });
  }
  const apply = () => {
    const kept = options.filter((_, place) => {
      const {find: text, kinds} = known[place];
      return text.includes(asked(find)) && (show.value === "" || kinds.includes(show.value));
    });
    list.replaceChildren(...kept);
    part("[name=count]").textContent = `${kept.length} of ${known.length} reactions`;
    const called = kept.find(({value}) => known[value].name.toLowerCase() === asked(find));
    if (kept.length) pick((called ?? kept[0]).value);
    if (onMap && onMap.value !== find.value) {
      onMap.value = find.value;
      onMap.dispatchEvent(new Event("input"));
    }
  };
  list.addEventListener("change", () => pick(list.value));
  find.addEventListener("input", apply);
  show.addEventListener("change", () => apply());
  apply();
  all(".map .frame svg a").forEach(link => link.addEventListener("click", event => {
    event.preventDefault();
    find.value = show.value = "";
    apply();
    pick(known.findIndex(({row}) => `#${row}` === link.getAttribute("href")));
    live.scrollIntoView();
    list.focus({preventScroll: true});
  }));
}

const kinds = {matrix, curves, fits, reactions};

async function draw(live) {
  const content = JSON.parse(live.querySelector("script").textContent), part = selector => live.querySelector(selector);
  live.hidden = false;  // a chart takes its size from the room there is
  try {
    const {roots: [{model: plot}]} = await Bokeh.embed.embed_item(content.chart, part(".chart"));
    kinds[live.dataset.kind]({part, plot, content, live, model: name => plot.document.get_model_by_name(name)});
  } catch (error) {
    live.hidden = true;  // the picture is there
    throw error;
  }
}

// --- the page --------------------------------------------------------------------------------------------------------

/* Bokeh, of which the page holds a packed copy. */
async function unpack(holder) {
  const packed = Uint8Array.from(atob(holder.textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(make("script", await new Response(stream).text()));
}

all(".sorted").forEach(holder => new Table(holder));
const library = document.getElementById("bokeh");
if (library) unpack(library).then(() => all(".live").forEach(draw));

let opened = [];
addEventListener("beforeprint", () => {
  opened = all("details:not([open])");
  opened.forEach(fold => { fold.open = true; });
});
addEventListener("afterprint", () => opened.forEach(fold => { fold.open = false; }));
})();
