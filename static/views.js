/* The views that the first look does not need: the routing inspector, the prompt inspector, the system, the logs, the events.
   dashboard.html loads this file when it has been read itself. What is used here and not declared stands there. */
'use strict';

/* 4 Routing inspector */
const causes = {
  scored: it => `Its score of ${fix(it.rawScore, 3)} ${it.tier === 'SIMPLE' ? `is below ${fix(it.boundaries.medium)}`
    : it.tier === 'MEDIUM' ? `lies between ${fix(it.boundaries.medium)} and ${fix(it.boundaries.complex)}`
    : `is ${fix(it.boundaries.complex)} or more`}, so it is ${it.tier}.`,
  low_confidence: it => `The score of ${fix(it.rawScore, 3)} is too near a boundary to be believed, so it is MEDIUM.`,
  no_signal: () => 'There was nothing to score.',
  follow_up: it => it.setsOff?.length
    ? `It answers what was proposed before, and what that speaks of counts: ${it.setsOff.join(', ')}. So it is ${it.tier}.`
    : `It continues what came before, so it keeps at least ${it.tier}.`,
  reply_floor: it => `It replies to a stronger answer, so it gets at least ${it.tier}; its own score is ${fix(it.rawScore, 3)}.`,
  large_context: () => 'The context is too large for a smaller model.',
  stay: it => `It is ${it.tier}, and ${it.stay.insteadOf} would do; but staying with ${it.stay.model} is cheaper.`,
  pinned: it => `The thread is pinned to ${it.effectiveModel}; the score alone would say ${it.tier}.`,
  user_hint: it => `The user asked for ${it.effectiveModel}.`,
  heartbeat: () => 'A heartbeat: it skips the router.',
  raised: it => `While the turn ran ${it.evidence}, so a stronger model goes on.`,
};
const replies = {
  own_words: 'no floor, what is to be done now decides',
  work_goes_on: 'the work goes on, so what it continues decides',
  stay_cheaper: "the session's model stays, since that is cheaper",
};
/* What staying costs beside the switch. Decisions of older releases know no risk. */
function money({ stay: it, tier, warm, probabilities: p }) {
  if (!it) return null;
  // Which tier the warm model has is known of the usual three only.
  const more = { SIMPLE: p.MEDIUM + p.COMPLEX, MEDIUM: p.COMPLEX, COMPLEX: 0 };
  const above = { haiku: more.SIMPLE, sonnet: more.MEDIUM, opus: 0, [it.insteadOf]: more[tier] };
  const exact = x => '$' + fix(x || 0, 4);
  const until = warm?.find(cache => cache.model === it.model)?.until;
  const sum = (model, answer, risk) => `${model} costs ${exact(answer)}, and ${exact(risk)} for ${
    above[model] == null ? 'the risk' : 'the ' + pct(above[model])} that it is not enough`;
  return note(`${it.model} has ${num(it.warmTokens)} of ${num(it.contextTokens)} tokens cached${until ? ' until ' + clock(until) : ''}. `
    + `${sum(it.model, it.stayUsd, it.stayRiskUsd)}; ${sum(it.insteadOf, it.switchUsd, it.switchRiskUsd)}, and ${exact(it.backUsd)} to come back.`);
}
function highlighted(text, dims) {
  const raw = new TextEncoder().encode(text), words = new TextDecoder();
  const hits = dims.flatMap(dim => (dim.hits || []).map(hit => ({ ...hit, dim: dim.name }))).filter(it => it.end > it.start && it.end <= raw.length)
    .sort((a, b) => a.start - b.start);
  const out = [];
  let at = 0;
  for (const hit of hits) {
    if (hit.start < at) continue;
    out.push(words.decode(raw.slice(at, hit.start)), h('mark', { title: hit.dim }, words.decode(raw.slice(hit.start, hit.end))));
    at = hit.end;
  }
  out.push(words.decode(raw.slice(at)));
  return out;
}
/* What a scale shows: as much again on either side as lies between the boundaries, twice, and the score itself. */
function reach({ boundaries: { medium, complex } }, score = medium) {
  const gap = complex - medium || 1;
  return [Math.min(medium - 2 * gap, score - gap / 4), Math.max(complex + 2 * gap, score + gap / 4)];
}
function scale(it) {
  const { medium, complex } = it.boundaries, [low, high] = reach(it, it.rawScore);
  const share = x => `${clamp((x - low) / (high - low), 0, 1) * 100}%`;
  const zone = (model, name, from, to) => { const el = h('div', `zone ${model}`, cell(name)); el.style.left = share(from);
    el.style.width = `calc(${share(to)} - ${share(from)})`; return el; };
  // What is written at an edge stays inside.
  const mark = (cls, x, text) => { const el = h('span', { class: cls }, text);
    el.style.left = text === '' ? share(x) : `clamp(14px, ${share(x)}, calc(100% - 24px))`; return el; };
  return h('div', { class: 'scale', role: 'img', 'aria-label': `score ${fix(it.rawScore, 3)}; MEDIUM from ${fix(medium)}, COMPLEX from ${fix(complex)}` },
    zone('haiku', 'SIMPLE', low, medium), zone('sonnet', 'MEDIUM', medium, complex), zone('opus', 'COMPLEX', complex, high),
    [medium, complex].filter(x => Math.min(complex - medium, Math.abs(it.rawScore - x)) > (high - low) * .1).map(x => mark('tick', x, fix(x))),
      mark('pin', it.rawScore, ''), mark('at', it.rawScore, fix(it.rawScore, 3)));
}
function dimensions(it) {
  const most = Math.max(.001, ...it.dims.map(dim => Math.abs(dim.contribution)));
  const rows = [...it.dims].map((dim, at) => ({ ...dim, at })).sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution) || a.at - b.at);
  return h('div', { class: 'dims', role: 'group', 'aria-label': 'Dimensions: name, score, weight, and what they add' },
    h('span', 'h', 'dimension'), h('span', 'h num', 'score'), h('span', 'h num w', 'weight'), h('span', 'h'),
      h('span', 'h num', 'adds'),
    rows.map(dim => [h('span', { class: dim.score ? '' : 'dim' }, dim.name), h('span', 'num', fix(dim.score)),
      h('span', 'num w dim', fix(dim.weight)),
      h('span', `div ${dim.contribution < 0 ? 'haiku' : 'opus'}`,
        dim.contribution ? h('i', { class: dim.contribution < 0 ? 'minus' : '', '--v': Math.abs(dim.contribution) / most }) : null),
      h('span', { class: 'num' + (dim.contribution ? '' : ' dim'), title: dim.band == null ? null : `widens MEDIUM's band by ${fix(2 * dim.band)}` },
        (dim.contribution > 0 ? '+' : '') + fix(dim.contribution, 3)),
        dim.hits?.length ? h('span', 'hits', dim.hits.map(hit => cell(hit.phrase))) : null]));
}
/* Dollars a day, the dearest below. */
function bars(name, days, of, words = it => it) {
  const sums = {}, last = today(), most = Math.max(.001, ...days.map(it => Object.values(of(it)).reduce((a, b) => a + b, 0)));
  for (const day of days) for (const [key, it] of Object.entries(of(day))) sums[key] = (sums[key] || 0) + it;
  const names = Object.keys(sums).sort((a, b) => sums[b] - sums[a]);
  const hue = key => Object.values(tierModel).includes(key) ? `var(--${key})` : `hsl(${names.indexOf(key) * 67 + 20} 45% 55%)`;
  return h('div', 'chart', h('header', null, faint(name), bold(`at most ${usd(most)} a day`)),
    s('svg', { viewBox: '0 0 30 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': `Dollars a day, ${name}` }, days.map(day => {
      let y = 100;
      return names.filter(it => of(day)[it]).map(key => { const high = of(day)[key] / most * 100; y -= high;
        return s('rect', { x: 29 - Math.round((last - day.from) / 864e5), y, width: .8, height: high, '--hue': hue(key) },
          s('title', null, `${dayFormat.format(day.from)}: ${words(key)} ${usd(of(day)[key])}`)); });
    })),
    h('div', 'key', names.slice(0, 12).map(it => h('span', { '--hue': hue(it) }, h('i', 'hue'), `${words(it)} ${usd(sums[it])}`))));
}
const sorts = [['', 'newest last'], ['score', 'by score'], ['confidence', 'by confidence'], ['tier', 'by tier'], ['thread', 'by thread']];
/* What a person's next message or reaction said of an answer. */
const outcomes = { __proto__: null, wrong: 'It was called wrong.', again: 'The same was asked again.', stronger: 'A stronger model was asked for the same.',
  thumbs_down: 'It got a thumbs-down.', thumbs_down_gone: 'The thumbs-down was taken off.' };

views.routing = {
  __proto__: lister, log: 'routing', fields: ['thread', 'tier', 'only', 'since'], opensLast: true, unknown: 'No decision is logged for this message.',
  mount(el, params) {
    const toggle = (name, words) => h('button', { class: 'end', 'aria-pressed': false,
      onclick: () => go({ whatif: null, costs: null, [name]: app.params[name] ? null : 1 }) }, words);
    this.what = toggle('whatif', 'what if …');
    this.spent = toggle('costs', 'costs');
    this.build(el, params, { className: 'route', label: 'Decisions', words: 'search what was read', end: [this.spent, this.what],
      empty: () => app.params.q || Object.keys(this.filter()).length ? 'Nothing matches.' : empty('No decisions yet.', 'tinyclaw send "hello"'),
      controls: [select('Thread', threadOptions(), params.thread, it => go({ thread: it, key: null })),
        select('Tier', tierOptions, params.tier, it => go({ tier: it })), select('Time', since, params.since, it => go({ since: it })),
        select('Sort', sorts, params.sort, it => go({ sort: it })),
        h('button', { 'aria-pressed': params.only === 'upgraded', onclick: e => { go({ only: app.params.only ? null : 'upgraded' });
          e.target.setAttribute('aria-pressed', !!app.params.only); } }, 'upgraded only')],
      draw: row => {
      const it = row.line;
      const [low, high] = reach(it);
      return h('div', 'r', time(it.timestamp), cell(threadName(it.threadId)), cell(tierBadge(it.tier)),
        cell(badge(it.effectiveModel)),
        h('span', { class: 'meter sc ' + tierModel[it.tier], '--v': clamp((it.rawScore - low) / (high - low), 0.02, 1), title: 'score ' + fix(it.rawScore, 3) },
        h('i')), h('span', 't', row.snippet ? snippet(row.snippet) : flat(it.rawInput)), h('span', null,
        it.upgraded ? h('span', 'badge note', 'upgraded')
          : it.cause === 'pinned' || it.cause === 'stay' ? h('span', 'badge', it.cause === 'stay' ? 'stays' : 'pinned') : null));
    } });
  },
  async load(params) {
    if (this.find(params)) return;
    try {
      const rows = await new Rows('routing', this.filter(params)).open(params.sort ? 1000 : PAGE);
      if (app.params !== params) return rows.close();
      if (params.sort) {
        const of = { score: it => it.rawScore, confidence: it => it.confidence, tier: it => it.tier[0] === 'C' ? 2 : it.tier[0] === 'M' ? 1 : 0,
          thread: it => threadName(it.threadId), __proto__: null }[params.sort];
        const all = [...rows.pages.values()].flatMap(page => [...page.values()]).filter(it => it.line);
        all.sort((a, b) => of(b.line) < of(a.line) ? -1 : of(b.line) > of(a.line) ? 1 : b.row - a.row);
        rows.close();
        this.list.use(new Fixed(all));
        this.list.begin();
      } else this.list.use(rows);
      this.deep(params);
    } catch (it) { toast(it.message); }
  },
  deep(params) {
    this.what.setAttribute('aria-pressed', !!params.whatif);
    this.spent.setAttribute('aria-pressed', !!params.costs);
    const panel = params.whatif ? this.whatIf() : params.costs && this.costs();
    return panel ? panel.catch(it => toast(it.message)) : lister.deep.call(this, params);
  },
  detail(it) {
    for (const el of [this.what, this.spent]) el.setAttribute('aria-pressed', false);
    const said = h('div');
    api('routing/outcomes/' + encodeURIComponent(it.key)).then(of => of.length && fill(said, section(title('What people said of the answer'),
      of.map(one => h('p', 'verdict', outcomes[one.said] || one.said, faint(' ', clock(one.timestamp)))))), () => {});
    this.split.show(this.split.top(tierBadge(it.tier), '→', badge(it.effectiveModel), it.upgraded ? h('span', 'badge note', 'upgraded') : null,
      faint(threadName(it.threadId), ', ', clock(it.timestamp)), links(it, 'routing')),
      section(title('What was read'), h('p', 'say verdict', highlighted(it.rawInput, it.dims))),
      section(title('Why'), h('p', 'verdict', (causes[it.cause] || (() => it.cause))(it),
        it.effectiveModel !== it.model ? ` The tier's model would be ${it.model}; ${it.effectiveModel} was asked.` : ` ${it.effectiveModel} was asked.`,
        it.effort && ` Effort ${it.effort.level}, by the ${it.effort.from}.`,
        it.replied && ` It replies to ${it.replied.to}: ${replies[it.replied.rule] || it.replied.rule}.`),
        money(it), scale(it),
        note(`sure of SIMPLE ${pct(it.probabilities.SIMPLE)}, MEDIUM ${pct(it.probabilities.MEDIUM)}, COMPLEX ${
          pct(it.probabilities.COMPLEX)} · about ${num(it.estimatedTokens)} tokens · decided in ${num(it.durationUs)} µs`)),
      said, section(title('The fourteen dimensions'), dimensions(it),
        h('div', 'kv', h('span', 'dim',
        `their sum, with a bias of ${fix(it.bias, 3)}${it.learned != null ? ` and a learned ${fix(it.learned, 3)}` : ''}`), h('span'), h('b', 'num',
        fix(it.rawScore, 3)))),
      h('section', 'dim mono', `router ${it.routerVersion}, lists ${it.configHash}`));
  },
  /* What was spent, beside what other ways of choosing would have cost. */
  async costs() {
    const top = this.split.top(bold('What the models cost'));
    this.split.show(top, section(note('Adding up …')));
    const it = await api('routing/costs?midnight=' + today()), spans = [it.today, it.week, it.month];
    const learned = await api('routing/learned');
    if (!app.params.costs) return;
    const words = { real: 'at list prices', again: 'decided again', stay: 'stay (first model)' };
    const row = (name, of) => tr(td(name), spans.map(it => h('td', 'num', it.turns ? of(it) : '–')));
    this.split.show(top, section(h('table', null,
      h('thead', null, tr(h('th'), ['today', '7 days', '30 days'].map(it => h('th', 'num', it)))),
      h('tbody', null, row('turns', it => num(it.turns)), row('Claude charged', it => usd(it.paidUsd)),
        ['real', 'again', 'stay', ...Object.keys(it.month.usd).filter(it => !words[it])].map(name =>
          row(words[name] || 'always ' + name, it => usd(it.usd[name]))),
        row('saved beside ' + it.strongest, of => usd(of.savedUsd[it.strongest])), row('cache hit rate', it => pct(it.cacheHits)),
        row('turns that lost', it => pct(it.lost.turns / it.turns)), row('lost', it => usd(it.lost.usd)),
        row('lost again', it => usd(it.lostAgain.usd)))),
      note(`List prices of ${it.prices}, for the tokens as they were. Stay: each session keeps the model it began with. `
      + 'Lost: a weaker model cost more than the stronger one, which was warm.')),
      section(bars('by model', it.days, it => it.models), bars('by desk', it.days, it => it.desks, threadName)),
      learned && section(title('Weights learned in this office'), h('pre', 'mono', learned)));
  },
  /* Weighs the logged scores anew, here in the page, and tells which messages would have gone elsewhere. */
  async whatIf() {
    this.split.show(this.split.top(bold('What if the weights were others?')), section(note(' ')));
    const page = await api('routing/recent?' + ask({ ...this.filter(app.params), n: 1000, chars: 160 }));
    const rows = page.rows.filter(it => it.line);
    if (!rows.length) return this.split.show(this.split.top(bold('What if')), section('There is no decision to weigh anew.'));
    const base = rows.at(-1).line;
    const set = { weights: Object.fromEntries(base.dims.map(it => [it.name, it.weight])), bias: base.bias, medium: base.boundaries.medium,
      complex: base.boundaries.complex };
    const first = structuredClone(set), result = h('section');
    const tierOf = (x, m, c) => x < m ? 'SIMPLE' : x < c ? 'MEDIUM' : 'COMPLEX';
    const tiers = ['SIMPLE', 'MEDIUM', 'COMPLEX'];
    const weigh = () => {
      const moved = [], matrix = {};
      for (const row of rows) {
        const it = row.line;
        const now = it.bias + (it.learned || 0) + it.dims.reduce((sum, dim) => sum + dim.score * dim.weight, 0);
        const then = now + (set.bias - first.bias) + it.dims.reduce((sum,
          dim) => sum + dim.score * ((set.weights[dim.name] ?? dim.weight) - (first.weights[dim.name] ?? dim.weight)), 0);
        const from = tierOf(now, it.boundaries.medium, it.boundaries.complex), to = tierOf(then, it.boundaries.medium + set.medium - first.medium,
          it.boundaries.complex + set.complex - first.complex);
        matrix[from + to] = (matrix[from + to] || 0) + 1;
        if (from === to) continue;
        const counts = it.cause === 'scored' || it.cause === 'low_confidence';
        moved.push({ row, from, to, then, counts });
      }
      fill(result, title(`${num(moved.length)} of ${num(rows.length)} decisions would change`),
        moved.length ? null : note('Move a slider to see which.'),
        h('div', { class: 'matrix', role: 'img', 'aria-label': 'From tier (rows) to tier (columns)' }, faint('from ↓ to →'),
          tiers.map(it => h('span', tierModel[it], it)),
          tiers.map(from => [faint(from),
          tiers.map(to => h('span', 'num ' + (from === to ? 'same' : matrix[from + to] ? 'moved' : ''), num(matrix[from + to] || 0)))])),
        h('table', null, h('tbody', null,
          moved.slice(-60).reverse().map(it => h('tr', { class: 'go', onclick: () => go({ key: nameOf(it.row.line), whatif: null }) },
          td(tierBadge(it.from), ' → ', tierBadge(it.to)), h('td', 'num', fix(it.then, 3)),
          h('td', 'cut', flat(it.row.line.rawInput)), h('td', 'dim', it.counts ? '' : 'a rule decided'))))));
    };
    const gap = first.complex - first.medium || 1, scores = rows.map(it => it.line.rawScore),
      edges = [Math.min(first.medium, ...scores), Math.max(first.complex, ...scores)];
    const slider = (name, [low, high], get, put) => { const value = h('span', 'num', fix(get())); const delta = h('span', 'num dim');
      const start = get();
      return [h('label', { for: 'w-' + name.replace(' ', '-') }, name),
        h('input', { id: 'w-' + name.replace(' ', '-'), type: 'range', min: low, max: high, step: (high - low) / 200, value: get(),
        oninput: e => { put(Number(e.target.value)); value.textContent = fix(get()); delta.textContent = Math.abs(get() - start) < .005
        ? '' : (get() > start ? '+' : '') + fix(get() - start); weigh(); } }), value, delta]; };
    this.split.show(this.split.top(bold('What if the weights were others?'), h('button', { onclick: () => this.whatIf() }, 'as they are')),
      section(h('div', 'what', slider('medium from', edges, () => set.medium, it => set.medium = it),
        slider('complex from', edges, () => set.complex, it => set.complex = it), slider('bias', [first.bias - gap, first.bias + gap], () => set.bias,
        it => set.bias = it), base.dims.map(dim => slider(dim.name, [0, Math.max(2 * dim.weight, 1)], () => set.weights[dim.name],
        it => set.weights[dim.name] = it)))), result);
    weigh();
  },
};

/* What two texts have in common, and what not. */
function common(a, b, same = (x, y) => x === y) {
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && same(a[head], b[head])) head++;
  while (tail < a.length - head && tail < b.length - head && same(a[a.length - 1 - tail], b[b.length - 1 - tail])) tail++;
  const x = a.slice(head, a.length - tail), y = b.slice(head, b.length - tail);
  const pairs = [];
  for (let i = 0; i < head; i++) pairs.push([i, i]);
  /* The longest common sequence; beyond this size the middle counts as changed throughout. */
  if (x.length * y.length <= 4e6) {
    const wide = y.length + 1, best = new Uint16Array((x.length + 1) * wide);
    for (let i = x.length - 1; i >= 0; i--) for (let j = y.length - 1; j >= 0; j--) best[i * wide + j] = same(x[i], y[j]) ? best[(i + 1) * wide + j + 1] + 1
      : Math.max(best[(i + 1) * wide + j], best[i * wide + j + 1]);
    for (let i = 0, j = 0; i < x.length && j < y.length;) {
      if (same(x[i], y[j])) pairs.push([head + i++, head + j++]);
      else if (best[(i + 1) * wide + j] >= best[i * wide + j + 1]) i++; else j++;
    }
  }
  for (let i = tail; i > 0; i--) pairs.push([a.length - i, b.length - i]);
  return pairs;
}
function wordDiff(a, b) {
  const cut = it => it.match(/[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) || [];
  const x = cut(a).slice(0, 600), y = cut(b).slice(0, 600);
  const pairs = common(x, y);
  const keepX = new Set(pairs.map(it => it[0])), keepY = new Set(pairs.map(it => it[1]));
  const mark = (list, keep) => list.map((word, at) => keep.has(at) ? word : bold(word));
  return [mark(x, keepX), mark(y, keepY)];
}
function diff(left, right) {
  const a = left.split('\n'), b = right.split('\n');
  const el = h('div', 'diff');
  const pairs = [...common(a, b), [a.length, b.length]];
  let i = 0, j = 0, alike = [], added = 0, removed = 0;
  const line = (n, text, kind, side) => [h('span', `n r${side} ${kind}`, n ?? ''), h('span', `${kind} r${side}`, text)];
  const flush = isLast => {
    const keep = 2, out = at => put(el, [line(at[0] + 1, a[at[0]], '', 1), line(at[1] + 1, b[at[1]], '', 2)]);
    if (alike.length > 7) {
      const head = el.childElementCount ? keep : 0, tail = isLast ? 0 : keep;
      alike.slice(0, head).forEach(out);
      const hidden = alike.slice(head, alike.length - tail);
      const fold = h('button', { class: 'fold', onclick: () => { const rest = h('div'); const was = [...el.childNodes]; const at = was.indexOf(fold);
        el.replaceChildren(); put(el, was.slice(0, at)); hidden.forEach(out); put(el, was.slice(at + 1)); } }, `${num(hidden.length)} lines alike`);
      el.append(fold);
      alike.slice(alike.length - tail).forEach(out);
    } else alike.forEach(out);
    alike = [];
  };
  for (const [x, y] of pairs) {
    if (i < x || j < y) flush(false);
    const gone = a.slice(i, x), come = b.slice(j, y);
    for (let k = 0; k < Math.max(gone.length, come.length); k++) {
      let l = gone[k], r = come[k];
      if (l != null) removed++;
      if (r != null) added++;
      if (l != null && r != null) [l, r] = wordDiff(l, r);
      put(el, [line(l != null ? i + k + 1 : null, l ?? '', l != null ? 'del' : 'void', 1),
        line(r != null ? j + k + 1 : null, r ?? '', r != null ? 'add' : 'void', 2)]);
    }
    if (x < a.length && y < b.length) alike.push([x, y]);
    i = x + 1; j = y + 1;
  }
  flush(true);
  return { el, added, removed };
}

/* 5 Prompt inspector */
const isFault = it => it.historyInjected && !it.newSession;
const promptFlags = it => [it.newSession ? h('span', 'badge', 'new session') : null, ' ',
  isFault(it) ? h('span', { class: 'badge fault', title: 'History was put into a session that already has it' },
  `⚠ ${num(it.historyLines)} history lines in a running session`) : it.historyInjected ? h('span', 'badge note',
  `${num(it.historyLines)} history lines`) : null];
views.prompts = {
  __proto__: lister, log: 'prompts', fields: ['thread', 'only'], opensLast: true, unknown: 'No prompt is logged for this message.',
  mount(el, params) {
    this.graph = h('div', 'pad');
    this.build(el, params, { className: 'promptl', label: 'Prompts', words: 'search prompts', between: this.graph,
      empty: () => app.params.q || Object.keys(this.filter()).length ? 'Nothing matches.' : empty('No prompts yet.', 'tinyclaw send "hello"'),
      controls: [select('Thread', threadOptions(), params.thread, it => go({ thread: it, key: null })),
        select('Which', [['', 'all prompts'], ['injected', 'with history'], ['fault', 'faults: history in a running session']], params.only,
        it => go({ only: it }))],
      draw: row => {
      const it = row.line;
      return h('div', 'r', time(it.timestamp), cell(threadName(it.threadId)), cell(badge(it.model)),
        h('span', { class: 'meter sc', '--v': clamp(it.promptLength / (this.most || 4000), .01, 1), '--hue': isFault(it) ? 'var(--bad)' : it.historyInjected
        ? 'var(--warn)' : 'var(--text-2)' }, h('i')), h('span', 'num', num(it.promptLength)), h('span', 't',
        row.snippet ? [isFault(it) ? '⚠ ' : '', snippet(row.snippet)] : [isFault(it) ? h('span', 'badge fault', '⚠ history again')
        : it.historyInjected ? h('span', 'badge note', `history ${it.historyLines}`) : '',
        it.newSession ? [' ', h('span', 'badge', 'new')] : '', ' ',
        faint(flat(it.userMessage).split(/(?<=\[[^\]]{1,80}\]: )/).at(-1))]));
    } });
  },
  async load(params) {
    const isSearch = this.find(params);
    try {
      const [lengths, rows] = await Promise.all([api('prompts/lengths?' + ask({ thread: params.thread, n: 2000 })),
        isSearch ? null : new Rows('prompts', this.filter(params), 400).open(PAGE)]);
      if (app.params !== params) return rows?.close();
      this.lengths = lengths;
      this.most = Math.max(100, ...lengths.lengths);
      this.drawGraph();
      if (rows) { this.list.use(rows); this.deep(params); }
    } catch (it) { toast(it.message); }
  },
  draw(row) { this.selected = row; if (this.lengths) this.drawGraph(); },
  drawGraph() {
    const { rows, lengths, marks, seconds } = this.lengths, n = rows.length;
    if (n < 2) return fill(this.graph);
    const wide = 1000, high = 72, top = 8, x = at => at / (n - 1) * (wide - 2) + 1, y = it => high - 2 - it / this.most * (high - top - 4);
    const points = lengths.map((it, at) => `${x(at).toFixed(1)},${y(it).toFixed(1)}`);
    const selected = rows.indexOf(this.selected);
    const faults = marks.filter(it => it === 2).length;
    const svg = s('svg', { class: 'spark', viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: 'none', role: 'img',
      'aria-label': `prompt length over time, ${n} prompts, longest ${num(this.most)} characters` },
      s('path', { class: 'area', d: `M1,${high} L${points.join(' L')} L${wide - 1},${high}Z` }),
        s('path', { class: 'line', d: 'M' + points.join(' L'), 'vector-effect': 'non-scaling-stroke' }),
      marks.map((it, at) => it ? s('line', { x1: x(at), x2: x(at), y1: y(lengths[at]), y2: high, stroke: it === 2 ? 'var(--bad)' : 'var(--warn)',
        'stroke-width': it === 2 ? 2 : 1, 'vector-effect': 'non-scaling-stroke' }) : null),
      selected >= 0 ? s('line', { class: 'now', x1: x(selected), x2: x(selected), y1: 0, y2: high, 'vector-effect': 'non-scaling-stroke', 'stroke-width': 2 })
        : null);
    const words = h('p', 'dim');
    const tell = at => fill(words, at == null
      ? [`length of the last ${num(n)} prompts, now ${num(lengths[n - 1])} characters, longest ${num(this.most)} · `,
        h('span', 'warn', '▎'), 'history put in · ',
        faults ? h('span', 'bad', `▎${num(faults)} in a running session`) : 'none in a running session']
      : `${clock(seconds[at] * 1000)}: ${num(lengths[at])} characters${
        ['', ', history put in', ', history put into a running session'][marks[at]]}`);
    const nearest = e => { const box = svg.getBoundingClientRect(); return clamp(Math.round((e.clientX - box.left) / box.width * (n - 1)), 0, n - 1); };
    svg.addEventListener('mousemove', e => tell(nearest(e)));
    svg.addEventListener('mouseleave', () => tell());
    svg.addEventListener('click', async e => this.open(await api('prompts/row?row=' + rows[nearest(e)]), true));
    tell();
    fill(this.graph, svg, words);
  },
  deep(params) { return params.key && params.with ? this.compare(params.with, params.key).catch(it => toast(it.message)) : lister.deep.call(this, params); },
  detail(it, row) {
    this.draw(row.row);
    const name = nameOf(it);
    const keep = this.marked && this.marked !== name;
    this.split.show(this.split.top(badge(it.model), bold(threadName(it.threadId)), faint(clock(it.timestamp)),
      links(it, 'prompts')),
      section(div(h('span', 'badge', `${num(it.promptLength)} characters`), ' ', promptFlags(it)),
        h('p', 'group', h('button', { onclick: () => this.before(row.row, it) }, 'compare with the one before'),
          h('button', { onclick: () => { this.marked = name; toast('Marked. Open another prompt and compare it with this one.'); } }, 'mark'),
          keep ? h('button', { onclick: () => go({ key: name, with: this.marked }) }, 'compare with the marked one') : null)),
      section(title('What it is made of'), this.parts(it)),
      section(h('details', null, h('summary', null, bold('System prompt'), ` ${num([...it.systemPrompt].length)} characters`),
        h('pre', null, it.systemPrompt || 'none')), this.sections(it)));
  },
  parts(it) {
    const parts = it.parts?.length ? it.parts : [{ name: 'message', chars: it.promptLength }];
    return div(h('div', { class: 'parts', role: 'img', 'aria-label': parts.map(p => `${p.name} ${p.chars}`).join(', ') },
      parts.map(p => h('span', { class: p.name, '--v': p.chars, title: `${p.name}: ${num(p.chars)} characters` }))),
      h('div', 'key', parts.map(p => h('span', { class: p.name }, h('i'), `${p.name} ${num(p.chars)}`))));
  },
  /* The user message, cut where its parts meet. */
  sections(it) {
    const chars = [...it.userMessage];
    const parts = it.parts || [];
    if (!parts.length || parts.reduce((sum, p) => sum + p.chars, 0) !== chars.length) return h('details', { open: true },
      h('summary', null, bold('User message'), ` ${num(chars.length)} characters`), h('pre', null, it.userMessage));
    let at = 0;
    return parts.map(p => { const text = chars.slice(at, at += p.chars).join(''); const isPast = ['history', 'summaries', 'daily'].includes(p.name);
      return h('details', { open: p.chars < 3000 || p.name === 'message' },
        h('summary', null, h('b', { class: isPast ? (isFault(it) ? 'bad' : 'warn') : '' }, p.name), ` ${num(p.chars)} characters`),
        h('pre', null, text.trim())); });
  },
  async before(row, it) {
    const near = await api('prompts/recent?' + ask({ thread: it.threadId, n: 50, chars: 0, until: it.timestamp + 1000 }));
    const other = near.rows.filter(one => one.row < row && one.line).at(-1);
    other ? go({ key: nameOf(it), with: nameOf(other.line) }) : toast('This is the first prompt of its thread.');
  },
  async compare(left, right) {
    const [a, b] = await Promise.all([left, right].map(it => rowOf('prompts', it)));
    if (!a?.line || !b?.line) return toast('One of the two prompts cannot be read.');
    this.draw(this.opened = b.row);
    const text = it => `# System prompt\n${it.systemPrompt}\n\n# User message\n${it.userMessage}`;
    const it = diff(text(a.line), text(b.line));
    const head = line => div(div(badge(line.model), ' ', bold(threadName(line.threadId)),
      faint(' ' + clock(line.timestamp))), div(h('span', 'badge', `${num(line.promptLength)} characters`), ' ',
      promptFlags(line)));
    const grown = b.line.promptLength - a.line.promptLength;
    this.split.show(this.split.top(bold('Two prompts'), h('span', 'good', `+${num(it.added)}`),
      h('span', 'bad', `−${num(it.removed)}`), faint(`lines, ${grown < 0 ? '−' : '+'}${num(Math.abs(grown))} characters`),
      h('button', { onclick: () => go({ key: left, with: right }) }, 'swap'), h('button', { onclick: () => go({ with: null }) }, 'back to one')),
      h('section', 'heads', head(a.line), head(b.line)), section(it.el));
  },
  live(log, row) {
    if (lister.live.call(this, log, row) && row.line && this.lengths && !app.params.only) {
      const { rows, seconds, lengths, marks } = this.lengths;
      rows.push(row.row); seconds.push(row.line.timestamp / 1000); lengths.push(row.line.promptLength);
        marks.push(isFault(row.line) ? 2 : row.line.historyInjected ? 1 : 0);
      this.most = Math.max(this.most, row.line.promptLength);
      this.drawGraph();
    }
  },
};

/* 6 System: ten minutes of the host, on one time axis. */
const chartWindow = list => list.length ? clamp(list.at(-1).at - list[0].at, 6e4, 6e5) : 6e5;
function chart(name, hue, lines, words, { top = 1, isSmall } = {}) {
  const wide = 600, high = 100, path = s('g'), hair = s('line', { class: 'hair', y1: 0, y2: high, visibility: 'hidden' });
  const svg = s('svg', { viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    isSmall ? null : [0, .5, 1].map(it => s('line', { class: 'grid', x1: 0, x2: wide, y1: it * high, y2: it * high })), path, hair);
  const last = h('b'), el = h('div', { class: `chart ${isSmall ? 'small' : ''}`, '--hue': hue }, h('header', null, faint(name), last),
    svg);
  let window = 6e5;
  const x = (at, now) => wide - (now - at) / window * wide;
  let samples = [];
  svg.addEventListener('mousemove', e => {
    const box = svg.getBoundingClientRect(), now = samples.at(-1)?.at;
    if (!now) return;
    const at = now - (1 - (e.clientX - box.left) / box.width) * window;
    const it = samples.reduce((a, b) => Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a);
    hair.setAttribute('x1', x(it.at, now)); hair.setAttribute('x2', x(it.at, now)); hair.setAttribute('visibility', 'visible');
    last.textContent = clockFormat.format(it.at) + '  ' + words(it);
  });
  svg.addEventListener('mouseleave', () => { hair.setAttribute('visibility', 'hidden'); if (samples.length) last.textContent = words(samples.at(-1)); });
  return { el, draw(list) {
    samples = list;
    window = chartWindow(list);
    const now = list.at(-1)?.at;
    if (!now) return;
    const most = typeof top === 'function' ? top(list) : top;
    const y = it => (high - clamp(it / most, 0, 1) * high).toFixed(1);
    path.replaceChildren();
    lines.forEach((value, at) => {
      const known = list.filter(it => value(it) != null);
      if (!known.length) return;
      const points = known.map(it => `${x(it.at, now).toFixed(1)},${y(value(it))}`).join(' L');
      if (!at) path.append(s('path', { class: 'area', d: `M${x(known[0].at, now)},${high} L${points} L${wide},${high}Z` }));
      path.append(s('path', { class: ['a', 'b', 'c'][at], d: 'M' + points }));
    });
    if (hair.getAttribute('visibility') === 'hidden') last.textContent = words(list.at(-1));
  } };
}
views.system = {
  mount(el) {
    this.charts = [
      chart('CPU, all cores', 'var(--sonnet)', [it => it.cpu], it => pct(it.cpu)),
      chart('RAM', 'var(--opus)', [it => share(it.memory)], it => fullness(it.memory)),
      chart('Load, 1 · 5 · 15 min', 'var(--accent)', [it => it.load?.[0], it => it.load?.[1], it => it.load?.[2]],
        it => it.load ? it.load.map(one => one.toFixed(2)).join(' · ') : 'n/a',
        { top: list => Math.max(1, list.at(-1).cores.length, ...list.flatMap(it => it.load || 0)) }),
      chart('Disk', 'var(--haiku)', [it => share(it.disk)], it => fullness(it.disk)),
    ];
    this.cores = h('div', 'cores');
    this.up = h('section');
    this.none = h('p', { class: 'dim', hidden: true },
      'The host’s /proc is not mounted here, so CPU, RAM and load are not known. Mount it read-only at /host/proc.');
    put(el, [h('div', 'bar', h('h1', null, 'System'), this.past = h('span', 'dim')),
      h('div', { class: 'scroll pad', tabindex: 0, role: 'region', 'aria-label': 'Charts' }, this.none,
      h('div', 'charts', this.charts.map(it => it.el)), h('h2', 'apart', 'Cores'), this.cores, h('h2', 'apart', 'Services'),
      this.up)]);
    this.load();
    this.status();
  },
  async load() {
    try {
      const it = await api('metrics');
      const have = new Set(it.samples.map(one => one.at));
      app.samples = [...it.samples, ...app.samples.filter(one => !have.has(one.at))].sort((a, b) => a.at - b.at).slice(-600);
      this.metrics();
    } catch (it) { toast(it.message); }
  },
  metrics() {
    const list = app.samples, now = list.at(-1);
    if (!now) return;
    this.none.hidden = now.load != null;
    this.past.textContent = `the last ${span(chartWindow(list))}, each second`;
    for (const it of this.charts) it.draw(list);
    if (this.cores.childElementCount !== now.cores.length) {
      this.core = now.cores.map((_, at) => chart(`core ${at}`, 'var(--sonnet)', [it => it.cores[at]], it => pct(it.cores[at]), { isSmall: true }));
      fill(this.cores, this.core.map(it => it.el));
    }
    for (const it of this.core || []) it.draw(list);
  },
  status() {
    const it = app.status;
    if (!it) return;
    const up = [['host', (app.samples.at(-1) || it.host).uptimeS * 1000, 'good', ''],
      ...it.services.map(one => [one.service, one.health && it.now - one.health.startedAt, serviceClass(one), one.state])];
    fill(this.up, h('table', null, h('thead', null,
      tr(['Service', 'State', 'Up for', 'Version', 'Process', 'Said so'].map(name => h('th', null, name)))), h('tbody', null,
      up.map(([name, ms, cls, state], at) => { const one = it.services[at - 1];
      return tr(td(name), h('td', { class: cls }, state || 'ok'), td(ms ? span(ms) : 'n/a'),
      h('td', 'mono', runs(one?.health)), h('td', 'mono', one?.health ? one.health.pid : ''),
      h('td', 'dim', one?.ageMs != null ? one.ageMs ? span(one.ageMs) + ' ago' : 'now' : '')); }))),
      it.services.flatMap(one => ofClaude(one.health)));
  },
};

/* 7 Logs */
const levels = [['', 'all levels'], ['error', 'error'], ['warn', 'warn'], ['info', 'info'], ['debug', 'debug'], ['trace', 'trace']];
views.logs = {
  __proto__: lister, fields: ['level'], isText: true,
  mount(el, params) {
    const cls = { error: 'bad', warn: 'warn', debug: 'dim', trace: 'dim' };
    this.tabs = ['telegram', 'queue'].map(it => h('button', { onclick: () => go({ log: it }) }, it));
    this.build(el, params, { className: 'logl', label: 'Log lines, newest last', words: 'filter', tabs: h('span', 'group', this.tabs),
      controls: select('Level', levels, params.level, it => go({ level: it })), empty: () => app.params.level || app.params.q
      ? 'Nothing matches.' : 'Nothing was logged yet. Start the services: tinyclaw.sh start',
      draw: row => h('div', 'r', h('span', `l ${cls[row.line?.level] || 'dim'}`, row.line?.level || '·'),
      h('span', `t ${cls[row.line?.level] || ''}`, row.snippet ? snippet(row.snippet) : row.line ? row.line.text : row.broken.why)) });
  },
  get log() { return app.params.log === 'telegram' ? 'telegram' : 'queue'; },
  async load(params) {
    this.tabs.forEach(it => it.setAttribute('aria-pressed', it.textContent === this.log));
    if (this.find(params)) return;
    try {
      const rows = await new Rows(this.log, this.filter(params)).open();
      if (app.params !== params) return rows.close();
      this.list.use(rows);
    } catch (it) { toast(it.message); }
  },
  async open(row, isMeant) {
    const text = row.line ? row.line.text : row.broken.text, key = /\bkey=([\w.-]+)/.exec(text)?.[1];
    if (isMeant) this.split.show(this.split.top(bold('Line'), faint(row.line?.level), h('span', 'link',
      key ? h('a', { href: hash('feed', { key }) }, 'timeline') : '')), section(h('pre', null, text)));
  },
};

/* 8 Events */
/* Events by rank: the last ones at hand, older ones as somebody scrolls there. Beyond so many of them a browser has enough. */
const TOLD_MAX = 20000, TOLD_CHARS_MAX = 32e6, TOLD_EVERY_MS = 1000, TOLD_PAGES = 5;
const eventKey = it => it.id.replace(/^evt_/, '');
const epochOf = it => it.split('-')[0];
const seqOf = it => Number(it.split('-')[1]);
class Told {
  constructor(filter) { Object.assign(this, { filter, rows: [], first: 0, chars: 0, complete: false, onchange() {} }); }
  get last() { return this.first + this.rows.length; }
  get count() { return this.rows.length; }
  get(rank) { return this.rows[rank - this.first]; }
  ask(more) { return api('events?' + ask({ ...this.filter, ...more })); }
  take(page) { this.total = page.total; this.chars += JSON.stringify(page.events).length; return page.events; }
  async open() {
    const page = await this.ask({});
    this.rows = this.take(page);
    Object.assign(this, { next: page.next, past: page.past, complete: !page.past });
    return this;
  }
  get isEnough() { return this.count >= TOLD_MAX || this.chars >= TOLD_CHARS_MAX; }
  async want(from) {
    if (from > this.first + 50 || this.complete || this.busy) return;
    this.busy = true;
    try {
      const page = await this.ask({ before: this.past });
      const older = epochOf(page.next) === epochOf(this.past) ? this.take(page) : [];
      this.rows = [...older, ...this.rows];
      this.first -= older.length;
      this.past = page.past;
      this.complete = !page.past || this.isEnough;
    } catch (it) { this.complete = true; toast(it.message); }
    this.busy = false;
    if (!this.closed) this.onchange();
  }
  /* What came since. False when it is more than anybody follows, or of another database: then the last ones are asked for. */
  async news(keep) {
    for (let at = 0; at < TOLD_PAGES; at++) {
      const page = await this.ask({ after: this.next });
      if (this.closed) return true;
      if (epochOf(page.next) !== epochOf(this.next) || this.isEnough) return false;
      if (seqOf(page.first) > seqOf(this.next) + 1)
        toast(`${num(seqOf(page.first) - seqOf(this.next) - 1)} events before ${page.first} are no longer kept.`);
      for (const it of this.take(page)) keep(it);
      this.next = page.next;
      if (page.next === page.head) return true;
    }
    return false;
  }
  add(row) { this.rows.push(row); return true; }
  close() { this.closed = true; }
  catchUp() {}
}
/* What an event is about, in a line: the words that say most first. What every hook has says nothing of this one. */
const EVERY_HOOK = new Set(['session_id', 'transcript_path', 'cwd', 'hook_event_name', 'prompt_id', 'permission_mode', 'hookNumber']);
function gist({ metadata: it, subject }) {
  const input = it?.tool_input;
  const detail = input && (input.command || input.file_path || input.url || input.pattern || input.description || input.prompt);
  const words = [it?.tool_name, detail, it?.prompt, it?.message, it?.last_assistant_message, it?.error, it?.reason, it?.trigger,
    it?.from && it?.to && `${it.from} → ${it.to}`, it?.threadId != null && threadName(it.threadId), it?.effectiveModel || it?.model, it?.tier]
    .filter(it => typeof it === 'string' && it);
  const own = words.length ? words.join('  ') : JSON.stringify(it ?? {}, (key, it) => EVERY_HOOK.has(key) ? undefined : it);
  return flat((own === '{}' ? subject || '' : own).slice(0, 400)).slice(0, 240);
}
/* Letters that turn the order of others around are written out: what is told must stand as it was told. */
const plain = text => text.replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, it => '\\u' + it.charCodeAt(0).toString(16));
const hueOf = type => type.startsWith('claude.') ? 'opus' : type.startsWith('tinyclaw.') ? 'haiku' : 'sonnet';
const timeOf = it => Date.parse(it.timestamp) || it.receivedAt;
/* The office's own events are about a message; everybody else's about what their sender says. */
const isOfMessage = it => it.source === 'tinyclaw' && it.subject;
views.events = {
  __proto__: lister, log: 'events', fields: ['source', 'session', 'subject'], isText: true,
  mount(el, params) {
    this.seen = { source: new Set(), session: new Set() };
    const pick = (label, name) => select(label, [], params[name], it => go({ [name]: it, key: null }));
    this.selects = { source: pick('Source', 'source'), session: pick('Session', 'session') };
    this.about = h('button', { hidden: true, title: 'Of everything again', onclick: () => go({ subject: null }) });
    this.build(el, params, { className: 'eventl', label: 'Events, newest last', words: 'type, such as claude.Pre', hint: ': how it begins',
      controls: [this.selects.source, this.selects.session, this.about],
      empty: () => this.none || (Object.keys(this.filter()).length || app.params.q ? 'Nothing matches.'
        : ['No event was told yet. Your own Claude Code tells them with ', h('code', null, 'tinyclaw hook install'), '.']),
      draw: it => h('div', 'r ' + hueOf(it.type), time(timeOf(it)), cell(h('span', 'badge', it.type)), h('span', 'dim who', it.source),
        h('span', 't', gist(it)), h('span', 'm', it.session ? it.session.slice(0, 8) : '')) });
  },
  async load(params) {
    clearTimeout(this.timer);
    this.none = null;
    this.about.hidden = !params.subject;
    this.about.textContent = `about ${(params.subject || '').slice(0, 24)} ✕`;
    const type = params.q && (params.q.endsWith('*') ? params.q : params.q + '*');
    const rows = new Told({ ...this.filter(params), type });
    try { await rows.open(); } catch (it) { this.none = it.message; rows.complete = true; }
    if (app.params !== params || !this.list.box.isConnected) return rows.close();
    this.list.use(rows);
    this.tell();
    if (!this.none) this.deep(params);
    this.follow(rows);
  },
  /* Asks for news as long as these rows are shown to somebody. */
  follow(rows) {
    this.timer = setTimeout(async () => {
      if (document.visibilityState !== 'hidden') {
        try {
          if (this.none) return this.load(app.params);
          this.isBehind = !await rows.news(it => this.list.add(it));
          this.failed = false;
          this.tell();
        } catch (it) { if (!this.failed) toast(it.message); this.failed = true; }
      }
      if (rows.closed) return;
      this.isBehind ? this.paused() : this.follow(rows);
    }, this.none ? 3 * TOLD_EVERY_MS : TOLD_EVERY_MS);
  },
  /* Nothing is taken away from somebody who reads. At the end the last events are asked for when there were too many to follow. */
  paused() {
    lister.paused.call(this);
    if (this.isBehind && this.list.follow && !this.list.paused) { this.isBehind = false; this.load(app.params); }
  },
  tell() {
    const { rows } = this.list;
    this.found.textContent = rows.total == null ? '' : `${num(rows.count)} of ${num(rows.total)}${this.isBehind ? ', and more came: go to the end'
      : rows.isEnough ? ', more than fits here: narrow them' : ''}`;
    for (const [name, box] of Object.entries(this.selects)) {
      const all = this.seen[name], now = app.params[name], had = all.size;
      for (const it of rows.rows.slice(-2000)) if (it[name] && all.size < 200) all.add(it[name]);
      if (now) all.add(now);
      if (all.size === had && box.options.length) continue;
      fill(box, ['', ...[...all].sort()].map(it => h('option', { value: it, selected: it === (now || '') },
        it ? it.length > 40 ? it.slice(0, 39) + '…' : it : `all ${name}s`)));
    }
  },
  async deep({ key }) {
    if (!key) return;
    try {
      const at = this.list.rows.rows.findIndex(it => eventKey(it) === key);
      if (at >= 0) { this.list.selected = this.list.rows.first + at; this.list.paint(); return this.open(this.list.rows.rows[at]); }
      const page = await api('events?' + ask({ before: `${epochOf(key)}-${seqOf(key) + 1}` }));
      const it = page.events.at(-1);
      it && eventKey(it) === key ? this.open(it) : toast(`The event ${key} is not kept here.`);
    } catch (it) { toast(it.message); }
  },
  status() {},
  live() {},
  open(it, isMeant) {
    if (isMeant === false && !this.split.isOpen) return;
    if (isMeant) quietly({ key: eventKey(it) });
    const only = (name, words) => it[name] ? h('a', { class: 'link', href: hash('events', { [name]: it[name] }) }, words) : '';
    const row = (name, value, more = '') => value ? [faint(name), h('span', 'cut', value), h('span', 'link', more)] : [];
    this.split.show(this.split.top(bold(it.type), faint(whole.format(timeOf(it))), h('span', 'link',
      isOfMessage(it) ? h('a', { href: hash('feed', { key: it.subject }) }, 'timeline') : '')),
      section(h('div', 'kv mono', row('id', it.id), row('happened', whole.format(timeOf(it))), row('came', whole.format(it.receivedAt)),
        row('source', it.source, only('source', 'only these')), row('session', it.session, only('session', 'only these')),
        row('subject', it.subject, only('subject', 'all about it')),
        row('secrets', it.redacted ? `${num(it.redacted)} taken out before it was kept` : ''))),
      section(title('What was told'), h('pre', null, plain(JSON.stringify(it.metadata, null, 2)))));
  },
  unmount() { clearTimeout(this.timer); this.list.close(); },
};
