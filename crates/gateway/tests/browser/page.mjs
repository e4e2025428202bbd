// Drives a page that uses the gateway, in Chromium.
//   node page.mjs KNOWN_ORIGIN FOREIGN_ORIGIN GATEWAY TOKEN WEB_APP
// DRIVER is the folder with playwright-core.
import { createRequire } from 'node:module';
import { createServer, connect } from 'node:net';
import { join } from 'node:path';

const [known, foreign, gateway, token, app] = process.argv.slice(2);
const require = createRequire(join(process.env.DRIVER, 'x.js'));
const { chromium } = require('playwright-core');
const flags = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
const check = (it, words) => { if (!it) { console.log('wrong:', words); process.exit(1); } };
const tell = n => fetch(gateway + '/events', { method: 'POST', headers: { authorization: 'Bearer ' + token, 'content-type': 'application/json' },
  body: JSON.stringify({ type: 'test.number', metadata: { n } }) }).then(it => check(it.ok, 'an event was not kept: ' + it.status));

// A way to the gateway that can be cut: a browser under test cannot pull a plug.
const ways = new Set();
const way = createServer(near => {
  const far = connect(new URL(gateway).port, '127.0.0.1');
  // Asked under the gateway's own name, whatever the way's port is.
  near.once('data', head => { far.write(head.toString('latin1').replace(/^host: .*$/im, 'Host: ' + new URL(gateway).host), 'latin1'); near.pipe(far); });
  far.pipe(near);
  for (const it of [near, far]) { ways.add(it); it.on('error', () => {}).on('close', () => { ways.delete(it); near.destroy(); far.destroy(); }); }
});
await new Promise(done => way.listen(0, '127.0.0.1', done));
const cut = () => { for (const it of ways) it.destroy(); };
const through = 'http://127.0.0.1:' + way.address().port;

// A page that nobody named gets no answer that it could read, to anything.
const stranger = await (await browser.newContext()).newPage();
await stranger.goto(foreign);
const refused = await stranger.evaluate(async ([gateway, token]) => {
  const tried = {};
  for (const [name, options] of [['plain', {}], ['token', { headers: { authorization: 'Bearer ' + token } }],
    ['post', { method: 'POST', headers: { authorization: 'Bearer ' + token, 'content-type': 'application/json' }, body: '{"type":"forged"}' }]]) {
    tried[name] = await fetch(gateway + '/events', options).then(() => 'read', it => it.name);
  }
  tried.socket = await new Promise(done => { const it = new WebSocket(gateway.replace('http', 'ws') + '/ws'); it.onopen = () => done('open'); it.onerror = () => done('refused'); });
  return tried;
}, [gateway, token]);
check(JSON.stringify(refused) === JSON.stringify({ plain: 'TypeError', token: 'TypeError', post: 'TypeError', socket: 'refused' }), JSON.stringify(refused));

const page = await (await browser.newContext()).newPage();
await page.goto(known);
const first = await page.evaluate(async ([gateway, through, token]) => {
  const headers = { authorization: 'Bearer ' + token, 'content-type': 'application/json' };
  const answer = await fetch(gateway + '/events', { headers });
  const ticket = path => fetch(gateway + '/tickets', { method: 'POST', headers, body: JSON.stringify({ path }) }).then(it => it.json()).then(it => it.ticket);
  window.heard = []; window.opened = 0; window.socketHeard = [];
  const source = new EventSource(through + '/events?type=test.*&ticket=' + await ticket('/events'));
  source.onopen = () => window.opened++;
  source.onmessage = it => { if (it.data) window.heard.push(JSON.parse(it.data).metadata.n); };
  const socket = new WebSocket(gateway.replace('http', 'ws') + '/ws?ticket=' + await ticket('/ws'));
  socket.onmessage = it => { const { type, data } = JSON.parse(it.data); if (type === 'event') window.socketHeard.push(data.metadata.n); if (type === 'init') window.socketOpen = true; };
  return { status: answer.status, head: answer.headers.get('x-bus-head') };
}, [gateway, through, token]);
check(first.status === 200 && /^[a-z0-9]{4}-\d+$/.test(first.head), 'the known page read ' + JSON.stringify(first));
const until = (work, words, it) => page.waitForFunction(work, it, { timeout: 60000 }).catch(() => check(false, words));
await until(() => window.opened === 1 && window.socketOpen, 'no stream opened');
for (let n = 0; n < 20; n++) await tell(n);
await until(() => window.heard.length >= 20 && window.socketHeard.length >= 20, 'the first events did not come');
cut();
// These come while the page is cut off, and right after.
for (let n = 20; n < 60; n++) await tell(n);
await until(() => window.opened >= 2, 'the browser did not come back');
for (let n = 60; n < 70; n++) await tell(n);
await until(() => window.heard.length >= 70 && window.socketHeard.length >= 70, 'not all events came');
const all = JSON.stringify([...Array(70).keys()]);
check(JSON.stringify(await page.evaluate(() => window.heard)) === all, 'missed or twice: ' + await page.evaluate(() => window.heard));
check(JSON.stringify(await page.evaluate(() => window.socketHeard)) === all, 'the socket missed or has twice');
console.log('the page heard everything');

// What front ends have in them to ask, without its types: on a page that is served elsewhere, whose origin the operator named, and on one of
// which nobody knows.
const snippet = `
const isTauri = typeof window !== "undefined" && "__TAURI__" in window;
async function apiRequest(path, options) {
  const res = await fetch(\`\${API_URL}\${path}\`, {
    ...options,
    headers: { "Authorization": \`Bearer \${API_TOKEN}\`, "Content-Type": "application/json", ...options?.headers },
  });
  if (!res.ok) throw new Error(await res.text());
  return res.json();
}
async function executePrompt(env, prompt, jsonOutput = false, sessionId) {
  if (isTauri) return invoke("execute_claude_prompt", { env, prompt, jsonOutput, sessionId });
  return apiRequest("/api/execute", { method: "POST", body: JSON.stringify({ env, prompt, jsonOutput, sessionId }) });
}
return executePrompt("dev", "hello", true);`;
const execute = it => it.evaluate(([snippet, gateway, token]) => new Function('API_URL', 'API_TOKEN', snippet)(gateway, token)
  .then(told => ({ told }), error => ({ name: error.name })), [snippet, gateway, token]);
const { told } = await execute(page);
check(told?.success === true && told.output === 'You said: hello' && JSON.parse(told.json_output).result === told.output, JSON.stringify(told));
check((await execute(stranger)).name === 'TypeError', 'a page that nobody named let Claude work');
console.log('the front end was answered');

// The example of a web app without a token in its bundle.
const web = await (await browser.newContext()).newPage();
await web.goto(app);
for (const prompt of ['Is it green?', 'And now?']) {
  await web.fill('#prompt', prompt);
  await web.click('button');
  await web.locator('#answer', { hasText: 'You said: ' + prompt }).waitFor({ timeout: 60000 }).catch(() => check(false, 'the web app shows nothing'));
}
check(!(await web.content()).includes(token), 'the page has the token in it');
const forged = await stranger.evaluate(app => fetch(app + '/ask', { method: 'POST', mode: 'no-cors', body: '{"prompt":"forged"}' }).then(it => it.type, it => it.name), app);
check(forged === 'opaque', forged);
console.log('the web app was answered');

// The description of the API: whole, on a phone, and nothing runs there that its policy stops.
const docs = await (await browser.newContext({ viewport: { width: 360, height: 640 } })).newPage();
const noise = [];
docs.on('pageerror', it => noise.push(it.message));
docs.on('console', it => { if (it.type() === 'error') noise.push(it.text()); });
await docs.goto(gateway + '/docs#execute');
await docs.locator('#execute[open] pre').first().waitFor({ timeout: 60000 }).catch(() => check(false, 'nothing is described'));
check(await docs.locator('details').count() > 30, 'something is not described');
await docs.fill('#find', 'webhooks');
await docs.locator('#execute').waitFor({ state: 'hidden' });
check(await docs.locator('#listWebhooks, details:not([hidden])').count() > 0, 'nothing is found');
const width = await docs.evaluate(() => document.documentElement.scrollWidth);
check(width <= 360, 'the description is ' + width + ' wide');
check(noise.length === 0, noise.join('\n'));
console.log('the API was described');
await browser.close();
process.exit(0);
