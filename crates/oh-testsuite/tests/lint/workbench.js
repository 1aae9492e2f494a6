// How far a workbench has come; nothing while its page is still on its way.
if (document.readyState === 'loading') return null;
const all = (css) => [...document.querySelectorAll(css)];
const text = (css) => all(css).map((one) => one.innerText).join(' ').trim();
const [page] = performance.getEntriesByType('navigation');
const failed = performance.getEntriesByType('resource')
  .filter((one) => /workbench[.](js|css)$|nls[.]messages[.]js$/.test(one.name) && one.responseStatus >= 400);
return {
  url: location.href,
  status: page?.responseStatus ?? 0,
  isPage: all('#vscode-workbench-web-configuration').length > 0,
  failed: failed.map((one) => `${one.responseStatus} for ${new URL(one.name).pathname.split('/').pop()}`),
  dialog: text('.monaco-dialog-box'),
  files: text('.explorer-folders-view'),
  bar: all('.monaco-workbench .part.statusbar').length > 0,
  remote: text('.part.statusbar .statusbar-item-label'),
  terminal: all('.terminal-wrapper.active .xterm-helper-textarea:focus').length > 0,
};
