/* A map is searched and enlarged, and the one metabolite or reaction that a search names is drawn by itself: what
   makes a metabolite on the left and what uses it on the right, a reaction to a line. Names enter as text only. */
(() => {
  const map = document.currentScript.closest("figure"), svg = map.querySelector(".frame svg");
  const [find, size] = map.querySelectorAll("input");
  const [count, close] = ["output", ".close"].map(one => map.querySelector(one));
  const {metabolites, reactions} = JSON.parse(map.querySelector("[type='application/json']").textContent);
  const parts = [...svg.querySelectorAll("[data-find]")];
  const ROW = 44, MIDDLE = 520, SQUARE = 170, TEXT = 235;  // px
  const LONG = 24;  // characters, after which a line says how many more, and a name is cut

  const draw = (tag, attributes, text, ...within) => {
    const made = document.createElementNS(svg.namespaceURI, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    made.append(...within);
    return made;
  };
  const number = value => Math.abs(value) === 1 || value === 0 ? "" : `${+Math.abs(value).toPrecision(6)} `;
  const short = name => name.length > LONG ? `${name.slice(0, LONG - 1)}…` : name;
  const search = name => { find.value = name; find.dispatchEvent(new Event("input")); };
  const link = ({name, label}, tag, attributes, before = "") => {
    const made = draw("a", {href: "#"}, undefined, draw(tag, attributes, before + short(name), draw("title", {}, label)));
    made.addEventListener("click", event => { event.preventDefault(); event.stopPropagation(); search(name); });
    return made;
  };
  const line = (kind, from, to, arrows) => {
    const bend = (from[0] + to[0]) / 2;
    const found = draw("path", {d: `M${from} C${bend},${from[1]} ${bend},${to[1]} ${to}`});
    for (const end of arrows) found.setAttribute(`marker-${end}`, `url(#arrow-${kind})`);
    return found;
  };

  /* "2 A + B", each name a link; of many the first ones. */
  const side = (members, attributes, before = "") => {
    const text = draw("text", attributes, before);
    let length = 0;
    for (const [place, [index, value]] of members.entries()) {
      if (length > LONG && members.length > place + 1) {
        text.append(` + ${members.length - place} more`);
        break;
      }
      text.append(place ? " + " : "", link(metabolites[index], "tspan", {}, number(value)));
      length += number(value).length + short(metabolites[index].name).length + 3;
    }
    return text;
  };
  const square = (reaction, x, y) => {
    const named = link(reaction, "text", {x, y: y - 9, "text-anchor": "middle"});
    named.prepend(draw("rect", {x: x - 4, y: y - 4, width: 8, height: 8}));
    return named;
  };
  const group = ({state, wrong}, ...within) =>
    draw("g", {class: `reaction ${state}${wrong ? " wrong" : ""}`}, undefined, ...within);
  const frame = (rows, label, ...within) => {
    const height = Math.max(rows, 2) * ROW + 30;
    const viewBox = `0 0 ${2 * MIDDLE} ${height}`;
    return draw("svg", {viewBox, role: "group", "aria-label": label}, undefined, ...within);
  };

  /* A reaction beside a metabolite: sign -1 on the left, which it makes; 1 on the right, which it uses or needs. */
  const beside = (reaction, metabolite, value, sign, y, middle) => {
    const {members, reversible, state} = reaction, x = MIDDLE + sign * SQUARE, out = x + sign * (TEXT - SQUARE);
    const others = wanted => members.filter(([index, size]) => index !== metabolite && Math.sign(size) === wanted);
    const own = number(value) ? [[metabolite, value]] : [], near = [...own, ...others(-sign)], far = others(sign);
    const [away, inward] = sign < 0 ? ["end", "start"] : ["start", "end"];
    const made = [square(reaction, x, y)];
    const towards = line(state, [x - sign * 4, y], [MIDDLE + sign * 8, middle], sign < 0 || reversible ? ["end"] : []);
    if (value === 0) towards.style.strokeDasharray = "1 2";
    made.push(towards);
    if (far.length) {
      made.push(line(state, [x + sign * 4, y], [out - sign * 6, y], sign > 0 || reversible ? ["end"] : []));
      made.push(side(far, {x: out, y: y + 4, "text-anchor": away}));
    }
    const under = {class: "beside", x: x - sign * 8, y: y + 16, "text-anchor": inward};
    if (near.length) made.push(side(near, under, own.length ? "" : "+ "));
    return group(reaction, ...made);
  };

  const ofMetabolite = metabolite => {
    const own = reactions.flatMap(reaction => {
      const found = reaction.members.find(([index]) => index === metabolite);
      return found ? [{reaction, value: found[1]}] : [];
    });
    const sides = [[-1, own.filter(({value}) => value > 0)], [1, own.filter(({value}) => value <= 0)]];
    const rows = Math.max(...sides.map(([, rows]) => rows.length)), middle = (Math.max(rows, 2) * ROW + 30) / 2;
    const lines = sides.flatMap(([sign, list]) => list.map(({reaction, value}, place) =>
      beside(reaction, metabolite, value, sign, middle + (place - (list.length - 1) / 2) * ROW, middle)));
    const {name, label} = metabolites[metabolite];
    return frame(rows, `What makes and uses ${name}`, ...lines, draw("g", {class: "metabolite"}, undefined,
      draw("title", {}, label), draw("circle", {cx: MIDDLE, cy: middle, r: 5}),
      draw("text", {x: MIDDLE, y: middle - 10, "text-anchor": "middle"}, short(name))));
  };

  const ofReaction = reaction => {
    const sides = [-1, 1].map(sign => reaction.members.filter(([, value]) => sign < 0 ? value <= 0 : value > 0));
    const rows = Math.max(...sides.map(list => list.length)), middle = (Math.max(rows, 2) * ROW + 30) / 2;
    const lines = sides.flatMap((list, which) => list.flatMap(([index, value], place) => {
      const sign = which ? 1 : -1, y = middle + (place - (list.length - 1) / 2) * ROW, x = MIDDLE + sign * TEXT;
      const arrows = which || reaction.reversible ? ["end"] : [];
      const towards = line(reaction.state, [MIDDLE + sign * 4, middle], [x - sign * 8, y], arrows);
      if (value === 0) towards.style.strokeDasharray = "1 2";
      const at = {class: "part", x: x + sign * 10, y: y + 4, "text-anchor": which ? "start" : "end"};
      return [towards, draw("circle", {cx: x, cy: y, r: 4.5}), link(metabolites[index], "text", at, number(value))];
    }));
    const all = group(reaction, ...lines, square(reaction, MIDDLE, middle));
    return frame(rows, `What ${reaction.name} takes and makes`, all);
  };

  /* What is called so; else the only one that has it in its name. */
  const named = text => {
    const each = [...metabolites.keys()].map(place => [metabolites[place], () => ofMetabolite(place)]);
    const every = [...each, ...reactions.map(reaction => [reaction, () => ofReaction(reaction)])];
    const names = ({name, label}) => [name.toLowerCase(), label.toLowerCase()];
    const has = every.filter(([one]) => names(one).some(own => own.includes(text)));
    return has.find(([one]) => names(one).includes(text)) ?? (has.length === 1 ? has[0] : undefined);
  };

  map.querySelector(".tools").hidden = false;
  find.addEventListener("input", () => {
    const text = find.value.trim().toLowerCase(), one = text === "" ? undefined : named(text);
    svg.classList.toggle("searching", text !== "");
    for (const part of parts) part.classList.toggle("found", part.dataset.find.includes(text));
    count.textContent = text === "" ? "" : svg.querySelectorAll(".reaction.found").length + " reactions";
    close.replaceChildren(...one ? [one[1]()] : []);
    close.hidden = !one;
  });
  size.addEventListener("input", () => { svg.style.width = 100 * size.value + "%"; });
  for (const part of svg.querySelectorAll("[data-name]"))
    part.addEventListener("click", () => search(part.dataset.name));
})();
