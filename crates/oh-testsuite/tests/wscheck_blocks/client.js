// A long-lived client: each request is a site to connect to, and its answer what socket.io-client saw.
const http = require('http');
const https = require('https');
const dns = require('dns');
const { io } = require('socket.io-client');

// The name of the tests is loopback here, as it is for every other client of them.
const lookup = (host, options, done) => {
  if (host !== 'oh.example') return dns.lookup(host, options, done);
  return options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
};

// Connects as a page of the site does, by WebSocket alone, and sends one event there and back.
const connect = ({ url, path, query, ca, headers, late_ms }) => new Promise((done) => {
  const { Agent } = url.startsWith('https:') ? https : http;
  const agent = new Agent({ lookup, ...(ca && { ca }) });
  const socket = io(url, {
    path, query, agent, transports: ['websocket'], reconnection: false, forceNew: true,
    timeout: late_ms, extraHeaders: headers,
  });
  let is_open = false;
  const end = (what) => { clearTimeout(late); done(what); socket.close(); agent.destroy(); };
  const late = setTimeout(() => end('late'), late_ms);
  socket.io.on('open', () => { is_open = true; });
  // What the application refuses came all the way.
  socket.on('connect_error', (fault) => end(`${is_open ? 'refused' : 'failed'}: ${fault.message}`));
  socket.on('disconnect', (why) => end(`cut: ${why}`));
  socket.on('connect', () => socket.emit('ask', 'hello', (back) => end(`said ${back}`)));
});

const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', async () => response.end(await connect(JSON.parse(body))));
});
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
