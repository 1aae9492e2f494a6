// What a page of another origin can do. Chromium gives it the login only where it is of the same
// site: another port or another name below the same domain, as applications have them.
const [base, commit] = arguments;
const socket = (path) => new Promise((done) => {
  const one = new WebSocket(base.replace('https:', 'wss:') + path);
  one.onopen = () => { one.close(); done('open'); };
  one.onerror = () => done('refused');
});
const readable = (path) => fetch(base + path, { credentials: 'include', cache: 'no-store' }).then(
  async (answer) => ((await answer.text()).startsWith('0{') ? 'readable' : 'refused'),
  () => 'refused',
);
const found = {
  'a page beside the site: WebSocket of the editor': socket(`/vscode/code/stable-${commit}?reconnectionToken=a&reconnection=false`),
  'a page beside the site: WebSocket of Socket.IO': socket('/socket.io/?EIO=4&transport=websocket'),
  'a page beside the site: Socket.IO by polling': readable('/socket.io/?EIO=4&transport=polling'),
};
const seen = Object.entries(found).map(async ([what, is]) => [what, String(await is)]);
return Promise.all(seen);
