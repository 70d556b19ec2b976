// Questions before something changes for everybody.

import { h } from "./dom.js";
import { newId } from "./dom.js";

/** Ask; resolves to whether the answer was yes. `body` are elements, `danger` paints the button red. */
export function confirmed({ title, body, yes, danger = false }) {
  return new Promise((resolve) => {
    const id = newId("dialog");
    let answer = false;
    const dialog = h("dialog", { "aria-labelledby": id, onclose: () => {
      dialog.remove();
      resolve(answer);
    } },
    h("h2", { id }, title),
    h("div", { class: "dialog-body", tabindex: "0", role: "region", "aria-label": "What will happen" }, body),
    h("div", { class: "row end" },
      h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
      h("button", {
        type: "button",
        class: danger ? "danger" : "primary",
        onclick: () => {
          answer = true;
          dialog.close();
        },
      }, yes)));
    document.body.append(dialog);
    dialog.showModal();
  });
}
