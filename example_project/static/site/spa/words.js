// The texts of the app, which the page has in the language of its reader.

export function words(name, values = {}) {
  const text = document.getElementById("words").content.querySelector(`[data-word="${name}"]`)?.textContent ?? "";
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
}
