// Elements out of data. Text only ever becomes text nodes: what tenants call themselves is never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`on…` functions listen, `style` is an object of properties) and children. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") style(element, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set style properties; a policy against inline styles does not concern these. */
export function style(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/** Replace all children. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

/** Set text where it changed, so that screen readers and selections are left alone where it did not. */
export function say(element, value) {
  const text = value ?? "";
  if (element.textContent !== text) element.textContent = text;
}

/** Set or take away an attribute where it changed. */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * One child per item, kept from one call to the next by key: focus and scrolling stay where they are.
 * `create(item)` makes an element, `update(element, item)` fills it.
 */
export function keyed(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = create(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const child of old.values()) child.remove();
}

let numbered = 0;

/** A new id, for labels. */
export function newId(prefix) {
  numbered += 1;
  return `${prefix}-${numbered}`;
}
