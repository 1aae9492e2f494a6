// What a page of the site itself can do; `commit` is VS Code's, `credentials` never leave the page.
const [base, folder, commit] = arguments;
const get = (path, more) => fetch(base + path, { cache: 'no-store', ...more }).then(
  async (answer) => ({ status: answer.status, path: answer.url.slice(base.length), text: await answer.text() }),
  () => ({ status: 0, path: '', text: '' }),
);
const status = async (path, more) => (await get(path, more)).status || 'no answer';
const refused = async (path, more) => {
  const code = await status(path, more);
  return code >= 400 ? 'refused' : code;
};
const LATE_MS = 25e3;
const editor = '/vscode/code/';
const leads = async (path) => {
  const { status, path: to, text } = await get(path);
  return `${status} ${to.split('?')[0]} ${text.includes('vscode-workbench-web-configuration')}`;
};
// One byte of a large file is enough.
const head = (path) => fetch(base + path, { cache: 'no-store', headers: { Range: 'bytes=0-0' } }).then(
  (answer) => { answer.body.cancel(); return `${answer.status} ${answer.headers.get('Content-Type')}`; },
  () => 'no answer',
);
// At an address of its own, as the browser keeps what it was once given.
const worker = (scope) => navigator.serviceWorker
  .register(`${editor}_static/out/browser/serviceWorker.js?${Date.now()}`, { scope })
  .then(() => 'registered', () => 'refused');
const talk = (transport, bytes) => new Promise((done) => {
  if (typeof io === 'undefined') { done('no client came'); return; }
  const socket = io(base, { transports: [transport], reconnection: false, forceNew: true, timeout: LATE_MS });
  const end = (what) => { clearTimeout(late); done(what); socket.close(); };
  const late = setTimeout(() => end('late'), LATE_MS);
  socket.on('connect_error', () => end('refused'));
  socket.on('disconnect', () => end('cut'));
  socket.on('connect', () => socket.emit('ask', 'x'.repeat(bytes)));
  socket.on('told', (data) => end(`${data.length} bytes there and back`));
});
const files = `${editor}stable-${commit}/static/out/`;
// What fits and what does not, socket.io-client on Node tells.
const bytes = 1e5;
const found = {
  'editor: page': leads(`${editor}?folder=${folder}`),
  'editor: first address': leads(editor),
  'editor: no slash': leads('/vscode/code?a=b'),
  'editor: file': head(`${editor}_static/src/browser/media/favicon.svg`),
  'editor: script': head(`${files}vs/code/browser/workbench/workbench.js`),
  'editor: without login': refused(`${editor}?folder=${folder}`, { credentials: 'omit' }),
  'editor: unknown session': refused('/vscode/nobody/'),
  'editor: service worker of the whole site': worker('/'),
  'app': status('/apps/code-0/x'),
  'app: unknown': refused('/apps/nobody-0/'),
  'openhands: page': status('/'),
  'openhands: file': head('/assets/socket.io.min.js'),
  'socket.io in the browser: polling': talk('polling', bytes),
  'socket.io in the browser: WebSocket': talk('websocket', bytes),
};
const seen = Object.entries(found).map(async ([what, is]) => [what, String(await is)]);
return Promise.all(seen);
