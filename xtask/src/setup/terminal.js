// Proves that the installed editor can open a terminal: its native module has to load and work.
const folder = process.cwd() + '/node_modules/code-server/lib/vscode/node_modules/node-pty';
const terminal = require(folder).spawn('/bin/sh', ['-c', 'echo terminal-$((6 * 7))'], {});
let output = '';
terminal.onData((data) => { output += data; });
terminal.onExit(() => process.exit(output.includes('terminal-42') ? 0 : 1));
