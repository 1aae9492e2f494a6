// A long-lived client: each request is a site to talk to, and its answer what socket.io-client saw.
const https = require('https');
const { io } = require('socket.io-client');

const LATE_MS = 30e3;

// Names of tests are loopback here, as they are for every other client of them.
const lookup = (host, options, done) =>
  options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);

// Sends one event, waits for one of the server's with as many bytes, and then holds still.
const talk = ({ url, headers, bytes, hold_ms }, transport) => new Promise((done) => {
  const agent = new https.Agent({ lookup });
  const socket = io(url, {
    transports: [transport], reconnection: false, forceNew: true, timeout: LATE_MS, agent,
    extraHeaders: headers,
  });
  let told = '';
  const end = (what) => { clearTimeout(late); done(what); socket.close(); agent.destroy(); };
  const late = setTimeout(() => end('late'), LATE_MS + hold_ms);
  socket.on('connect_error', (fault) => end(`refused: ${fault.message}`));
  socket.on('disconnect', (why) => end(told ? `${told}, then cut` : `cut: ${why}`));
  socket.on('connect', () => socket.emit('ask', 'x'.repeat(bytes)));
  socket.on('told', (data) => {
    told = `${data.length} bytes there and back`;
    setTimeout(() => end(told), hold_ms);
  });
});

const answer = async (body) => {
  const wanted = JSON.parse(body);
  const [polling, websocket] = await Promise.all(['polling', 'websocket'].map((one) => talk(wanted, one)));
  return JSON.stringify({ polling, websocket });
};

const server = require('http').createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', async () => response.end(await answer(body)));
});
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
