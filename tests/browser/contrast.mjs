// Runs inside a page.

/** Every text with too little contrast to what is behind it, and what its contrast is. */
export function pale() {
  const read = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1,
  });
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const colour = read(at instanceof SVGGElement && at.querySelector("rect") ? getComputedStyle(at.querySelector("rect")).fill : style.backgroundColor);
      layers.push(colour);
      if (colour.a === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  const judge = (text, colour, element) => {
    const ground = behind(element);
    const [a, b] = [light(over(read(colour), ground)), light(ground)].sort((a, b) => b - a);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${text.trim().slice(0, 40)} <${element.tagName} ${element.className}>`);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const { parentElement: element, data } = walk.currentNode;
    if (!data.trim() || ["TITLE", "OPTION"].includes(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    judge(data, element instanceof SVGElement ? style.fill : style.color, element);
  }
  for (const input of document.querySelectorAll("[placeholder]")) judge(input.placeholder, getComputedStyle(input, "::placeholder").color, input);
  return found;
}
