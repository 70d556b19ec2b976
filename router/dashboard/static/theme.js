// Before anything is drawn: the theme that was chosen here, else the system's. Not a module, so that it does not wait.
(() => {
  const chosen = localStorage.getItem("specroute.theme");
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
