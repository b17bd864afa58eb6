// node-postgres against SUITE_URL: pg.Client, pg.Pool, pg-cursor, pg-copy-streams. suite.py says which variables there are.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const crypto = require('node:crypto')
const { finished, pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { setTimeout: sleep } = require('node:timers/promises')
const pg = require('pg')
const Cursor = require('pg-cursor')
const copy = require('pg-copy-streams')

const URL_ = process.env.SUITE_URL
const ADMIN = process.env.SUITE_ADMIN_URL
const PROXIED = process.env.SUITE_SERVERS !== undefined
const SERVERS = Number(process.env.SUITE_SERVERS ?? 3)
const LIMIT = 60_000

const tests = []
const test = (name, run) => tests.push({ name, run })

async function connect(options = {}) {
  const client = new pg.Client({ connectionString: URL_, ...options })
  client.on('error', () => {})
  await client.connect()
  return client
}

// Runs with clients that are closed at its end, whatever happens.
async function using(count, run, options = {}) {
  const clients = []
  try {
    for (let n = 0; n < count; n++) clients.push(await connect(options))
    return await run(...clients)
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})))
  }
}

// The one value of a query.
async function value(client, text, values) {
  const result = await client.query({ text, values, rowMode: 'array' })
  return result.rows[0][0]
}

// Runs `check` while exactly one server is free, for each server in turn.
async function everywhere(check) {
  await using(SERVERS, async (...holders) => {
    for (const holder of holders) await holder.query('BEGIN; SELECT 1')
    for (const holder of holders) {
      await holder.query('COMMIT')
      await check()
      await check()
      await holder.query('BEGIN; SELECT 1')
    }
  })
}

const fails = (promise, code) => assert.rejects(promise, (error) => (assert.equal(error.code, code, error.message), true))

test('a connection and what it is told', () =>
  using(1, async (c) => {
    assert.equal(await value(c, 'SELECT current_user::text'), 'app')
    assert.ok(c.processID > 0)
    const told = {}
    const fresh = new pg.Client({ connectionString: URL_ })
    fresh.connection.on('parameterStatus', (message) => (told[message.parameterName] = message.parameterValue))
    await fresh.connect()
    for (const name of ['client_encoding', 'TimeZone', 'DateStyle', 'server_version', 'standard_conforming_strings']) {
      assert.equal(told[name], await value(fresh, `SHOW ${name}`), name)
    }
    await fresh.end()
  }))

test('TLS is verified', async () => {
  if (!process.env.SUITE_CA) return
  const ca = fs.readFileSync(process.env.SUITE_CA, 'utf8')
  const c = await connect({ connectionString: process.env.SUITE_TLS_URL, ssl: { ca } })
  assert.equal(await value(c, "SELECT repeat('x', 3000000)"), 'x'.repeat(3_000_000))
  assert.match(c.connection.stream.getProtocol(), /^TLS/)
  await c.end()
  await assert.rejects(connect({ connectionString: process.env.SUITE_TLS_URL, ssl: true }), /self-signed/)
  // SCRAM bound to the channel.
  const bound = await connect({ connectionString: process.env.SUITE_TLS_URL, ssl: { ca }, enableChannelBinding: true })
  assert.equal(await value(bound, 'SELECT 1'), 1)
  await bound.end()
})

test('logins are refused', async () => {
  const at = new URL(URL_)
  at.password = 'wrong'
  await fails(connect({ connectionString: at.href }), '28P01')
  at.username = 'nobody'
  await fails(connect({ connectionString: at.href }), '28P01')
  await assert.rejects(connect({ ssl: true }), /does not support SSL/)
})

test('many connections at once', async () => {
  const pids = new Set()
  const work = (number) =>
    using(
      1,
      async (c) => {
        for (let turn = 0; turn < 10; turn++) {
          assert.equal(await value(c, 'SELECT $1::int + 1', [number * 100 + turn]), number * 100 + turn + 1)
          assert.equal(await value(c, 'SHOW application_name'), `worker ${number}`)
          pids.add(await value(c, 'SELECT pg_backend_pid()'))
        }
      },
      { application_name: `worker ${number}` },
    )
  await Promise.all([...Array(40).keys()].map(work))
  if (PROXIED) assert.ok(pids.size > 1 && pids.size <= SERVERS, `${pids.size} servers`)
})

test('transactions', () =>
  using(2, async (c, other) => {
    await c.query('CREATE TABLE tx (n int PRIMARY KEY)')
    await c.query('BEGIN')
    const pid = await value(c, 'SELECT pg_backend_pid()')
    await c.query('INSERT INTO tx VALUES ($1)', [1])
    assert.equal(await value(other, 'SELECT count(*)::int FROM tx'), 0)
    await c.query('SAVEPOINT s')
    await fails(c.query('INSERT INTO tx VALUES ($1)', [1]), '23505')
    await fails(c.query('SELECT 1'), '25P02')
    await c.query('ROLLBACK TO s')
    await c.query('INSERT INTO tx VALUES ($1)', [2])
    assert.equal(await value(c, 'SELECT pg_backend_pid()'), pid)
    await c.query('COMMIT')
    await c.query('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY')
    await fails(c.query('INSERT INTO tx VALUES (3)'), '25006')
    assert.equal((await c.query('COMMIT')).command, 'ROLLBACK')
    assert.deepEqual((await other.query('SELECT n FROM tx ORDER BY n')).rows, [{ n: 1 }, { n: 2 }])
    await c.query('DROP TABLE tx')
  }))

test('several statements in one query', () =>
  using(1, async (c) => {
    const results = await c.query("SELECT 1 AS a; SELECT 2 AS b; SELECT 'three' AS c")
    assert.deepEqual(results.map((result) => result.rows), [[{ a: 1 }], [{ b: 2 }], [{ c: 'three' }]])
    await fails(c.query('CREATE TABLE implicit (n int); SELECT 1/0'), '22012')
    await fails(c.query('SELECT * FROM implicit'), '42P01')
    assert.equal((await c.query('')).command, null)
  }))

test('named statements follow their connection', () =>
  using(SERVERS + 2, async (...clients) => {
    await everywhere(async () => {
      for (const [number, c] of clients.entries()) {
        const query = { name: 'same', text: `SELECT ${number} AS own, $1::text AS sent`, values: [`v${number}`] }
        assert.deepEqual((await c.query(query)).rows, [{ own: number, sent: `v${number}` }])
      }
    })
    const both = await Promise.all(clients.map((c, n) => c.query({ name: 'same', text: `SELECT ${n} AS own, $1::text AS sent`, values: ['x'] })))
    assert.deepEqual(both.map((result) => result.rows[0].own), clients.map((_, n) => n))
    await assert.rejects(clients[0].query({ name: 'same', text: 'SELECT 2' }), /must be unique/)
    await fails(clients[0].query({ name: 'broken', text: 'SELEKT' }), '42601')
    assert.equal((await clients[0].query({ name: 'broken', text: 'SELECT 7 AS n' })).rows[0].n, 7)
  }))

test('more named statements than a server keeps', () =>
  using(2, async (a, b) => {
    for (let turn = 0; turn < 3; turn++) {
      for (let n = 0; n < 60; n++) {
        for (const c of [a, b]) {
          assert.equal(await value(c, `SELECT ${n} + $1::int`, [turn]), n + turn)
          assert.equal((await c.query({ name: `s${n}`, text: `SELECT ${n} + $1::int AS sum`, values: [turn] })).rows[0].sum, n + turn)
        }
      }
    }
  }))

test('a result type that changes', () =>
  using(2, async (c, ddl) => {
    await ddl.query('CREATE TABLE ddl (a int); INSERT INTO ddl VALUES (1)')
    const read = async () => (await c.query({ name: 'ddl', text: 'SELECT * FROM ddl' })).rows
    await everywhere(async () => assert.deepEqual(await read(), [{ a: 1 }]))
    await ddl.query("ALTER TABLE ddl ADD b text DEFAULT 'new'")
    if (PROXIED) {
      await everywhere(async () => assert.deepEqual(await read(), [{ a: 1, b: 'new' }]))
      await ddl.query("ALTER TABLE ddl ALTER a TYPE text USING 'n' || a")
      await everywhere(async () => assert.deepEqual(await read(), [{ a: 'n1', b: 'new' }]))
    } else {
      await fails(read(), '0A000')
    }
    await ddl.query('DROP TABLE ddl')
    await fails(read(), '42P01')
  }))

test('DEALLOCATE', () =>
  using(1, async (c) => {
    const query = { name: 'mine', text: 'SELECT 1 AS n' }
    await c.query(query)
    await c.query('DEALLOCATE mine')
    await fails(c.query(query), '26000')
    await c.query({ name: 'other', text: 'SELECT 1 AS n' })
    await c.query('DEALLOCATE ALL')
    await fails(c.query({ name: 'other', text: 'SELECT 1 AS n' }), '26000')
    await c.query('DISCARD ALL')
    assert.equal(await value(c, 'SELECT 2'), 2)
  }))

test('values', () =>
  using(1, async (c) => {
    const stamp = new Date('2024-02-29T23:59:59.999Z')
    const data = crypto.randomBytes(300)
    const pairs = [
      ['int4', -2147483648], ['int4', 42], ['float8', 1.5e300], ['bool', true], ['text', 'naïve ☃ 𝔘'], ['text', ''], ['bytea', data],
      ['timestamptz', stamp], ['int4[]', [1, null, 3]], ['text[]', ['a"b', 'c,d', '{}', '', null, 'NULL']],
      ['json', { a: [1, null, { b: 'ü' }] }], ['jsonb', { a: 'x'.repeat(10_000) }],
    ] // prettier-ignore
    for (const [kind, sent] of pairs) {
      for (const binary of [false, true]) {
        // Of binary formats the driver reads no byte above 0x7F.
        if (binary && !(kind === 'int4' && sent === 42)) continue
        const { rows } = await c.query({ text: `SELECT $1::${kind} AS got, NULL::${kind} AS null`, values: [sent], binary })
        assert.deepEqual(rows, [{ got: sent, null: null }], kind)
      }
    }
    assert.equal(await value(c, 'SELECT $1::int8', ['-9223372036854775808']), '-9223372036854775808')
    const row = (await c.query({ text: `SELECT ${[...Array(1600).keys()].join(', ')}`, rowMode: 'array' })).rows[0]
    assert.deepEqual(row, [...Array(1600).keys()])
    const { rows } = await c.query("SELECT n, repeat('z', n % 50) AS z FROM generate_series(1, 100000) n")
    assert.equal(rows.length, 100_000)
    assert.deepEqual(rows[48], { n: 49, z: 'z'.repeat(49) })
  }))

test('large values both ways', () =>
  using(1, async (c) => {
    const text = 'pg_wéir '.repeat(1_250_000)
    const data = crypto.randomBytes(10_000_000)
    await c.query('CREATE TABLE large (t text, b bytea)')
    await c.query('INSERT INTO large VALUES ($1, $2)', [text, data])
    const row = (await c.query('SELECT t, b FROM large')).rows[0]
    assert.ok(row.t === text && row.b.equals(data))
    assert.equal(await value(c, 'SELECT md5(b) FROM large'), crypto.createHash('md5').update(data).digest('hex'))
    assert.equal(await value(c, `SELECT length('${'x'.repeat(3_000_000)}')`), 3_000_000)
    await c.query('DROP TABLE large')
  }))

test('errors say what and where', () =>
  using(1, async (c) => {
    const error = await c.query('SELECT   nothing_there').catch((error) => error)
    assert.deepEqual([error.code, error.position, error.severity], ['42703', '10', 'ERROR'])
    await c.query('CREATE TABLE err (n int CONSTRAINT positive CHECK (n > 0))')
    const check = await c.query('INSERT INTO err VALUES ($1)', [-1]).catch((error) => error)
    assert.deepEqual([check.code, check.table, check.constraint], ['23514', 'err', 'positive'])
    await c.query('DROP TABLE err')
    await fails(c.query('SELECT 1 / (50000 - n) FROM generate_series(1, 60000) n'), '22012')
    assert.equal(await value(c, 'SELECT 1'), 1)
  }))

test('notices', () =>
  using(1, async (c) => {
    const heard = []
    c.on('notice', (notice) => heard.push([notice.severity, notice.message]))
    await c.query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
    await c.query('DROP TABLE IF EXISTS nothing_there')
    assert.deepEqual(heard, [['NOTICE', 'one'], ['WARNING', 'two'], ['NOTICE', 'table "nothing_there" does not exist, skipping']])
  }))

test('queued queries keep their order', () =>
  using(1, async (c) => {
    const answers = await Promise.all([...Array(200).keys()].map((n) => (n % 7 === 3 ? c.query('SELECT 1/0').catch((error) => error.code) : value(c, 'SELECT $1::int', [n]))))
    answers.forEach((answer, n) => assert.equal(answer, n % 7 === 3 ? '22012' : n))
  }))

test('cursors', () =>
  using(2, async (c, other) => {
    await c.query('BEGIN')
    const cursor = c.query(new Cursor('SELECT n FROM generate_series(1, $1::int) n', [1000]))
    let sum = 0
    for (;;) {
      const rows = await cursor.read(37)
      if (rows.length === 0) break
      sum += rows.reduce((total, row) => total + row.n, 0)
      await value(other, 'SELECT 1')
    }
    assert.equal(sum, 500_500)
    await cursor.close()
    await c.query('COMMIT')
    // Outside a transaction the driver sends Flush: the portal lives until its Sync.
    const loose = c.query(new Cursor('SELECT n FROM generate_series(1, 1000) n'))
    assert.equal((await loose.read(10)).length, 10)
    await value(other, 'SELECT 1')
    assert.equal((await loose.read(10))[0].n, 11)
    await loose.close()
    assert.equal(await value(c, 'SELECT 1'), 1)
    const broken = c.query(new Cursor('SELECT 1 / (15 - n) FROM generate_series(1, 100) n'))
    assert.equal((await broken.read(10)).length, 10)
    await fails(broken.read(10), '22012')
    await broken.close().catch(() => {})
    assert.equal(await value(c, 'SELECT 1'), 1)
  }))

test('COPY', () =>
  using(1, async (c) => {
    await c.query('CREATE TABLE cp (n int, t text)')
    const lines = [...Array(20_000).keys()].map((n) => `${n}\ttäxt ${n}\n`)
    const into = c.query(copy.from('COPY cp FROM STDIN'))
    await pipeline(Readable.from(lines), into)
    assert.equal(into.rowCount, 20_000)
    const out = c.query(copy.to('COPY (SELECT * FROM cp ORDER BY n) TO STDOUT'))
    const chunks = []
    for await (const chunk of out) chunks.push(chunk)
    assert.equal(Buffer.concat(chunks).toString(), lines.join(''))
    await fails(pipeline(Readable.from(['1\tx\n', 'one\tx\n'.repeat(50_000)]), c.query(copy.from('COPY cp FROM STDIN'))), '22P02')
    assert.equal(await value(c, 'SELECT count(*)::int FROM cp'), 20_000)
    const left = c.query(copy.from('COPY cp FROM STDIN'))
    left.write('1\tx\n')
    left.destroy()
    await finished(left).catch(() => {})
    assert.equal(await value(c, 'SELECT count(*)::int FROM cp'), 20_000)
    await c.query('DROP TABLE cp')
  }))

test('a cancel ends the query', () =>
  using(2, async (c, other) => {
    for (let turn = 0; turn < 3; turn++) {
      const query = new pg.Query('SELECT pg_sleep(20)')
      const end = new Promise((resolve) => query.on('error', resolve).on('end', resolve))
      c.query(query)
      await sleep(200)
      // The driver cancels by a client of its own.
      new pg.Client({ connectionString: URL_ }).cancel(c, query)
      assert.equal((await end).code, '57014')
      assert.equal(await value(other, 'SELECT 1'), 1)
      assert.equal(await value(c, 'SELECT 1'), 1)
    }
  }))

test('the driver gives up on a query', () =>
  using(
    1,
    async (c) => {
      await assert.rejects(c.query('SELECT pg_sleep(1)'), /Query read timeout/)
      assert.equal(await value(c, 'SELECT 1'), 1)
    },
    { query_timeout: 800 },
  ))

test('notifications', () =>
  using(2, async (c, sender) => {
    const heard = []
    c.on('notification', (message) => heard.push(message.payload))
    await c.query('LISTEN weir')
    for (let n = 0; n < 5; n++) await sender.query("SELECT pg_notify('weir', $1)", [String(n)])
    for (let turn = 0; heard.length < 5 && turn < 100; turn++) await sleep(50)
    assert.deepEqual(heard, ['0', '1', '2', '3', '4'])
    await using(1, async (fresh) => assert.deepEqual((await fresh.query('SELECT pg_listening_channels()')).rows, []))
  }))

test('startup settings', () =>
  using(1, async (plain) => {
    await plain.query("CREATE SCHEMA aside; CREATE TABLE aside.t AS SELECT 'aside' AS place; CREATE TABLE t AS SELECT 'public' AS place")
    const options = { options: '-c search_path=aside -c work_mem=5MB', application_name: 'mine', statement_timeout: 7000, lock_timeout: 3000, idle_in_transaction_session_timeout: 9000 }
    await using(
      1,
      (c) =>
        everywhere(async () => {
          assert.equal(await value(c, 'SELECT place FROM t'), 'aside')
          assert.equal(await value(plain, 'SELECT place FROM t'), 'public')
          const shown = []
          for (const name of ['work_mem', 'application_name', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) {
            shown.push(await value(c, `SHOW ${name}`))
          }
          assert.deepEqual(shown, ['5MB', 'mine', '7s', '3s', '9s'])
          assert.equal(await value(plain, 'SHOW statement_timeout'), '0')
        }),
      options,
    )
    await plain.query('DROP SCHEMA aside CASCADE; DROP TABLE t')
  }))

test('settings follow their session', () =>
  using(2, async (a, b) => {
    await a.query("SET TimeZone TO 'Asia/Tokyo'")
    await b.query("SET DateStyle TO 'German'; SET application_name TO 'b'")
    await everywhere(async () => {
      assert.equal(await value(a, 'SHOW TimeZone'), 'Asia/Tokyo')
      assert.equal(await value(a, 'SHOW DateStyle'), 'ISO, MDY')
      assert.equal(await value(b, 'SHOW application_name'), 'b')
      assert.match(await value(b, 'SHOW DateStyle'), /^German/)
    })
  }))

test('the pool', async () => {
  const pool = new pg.Pool({ connectionString: URL_, max: 8 })
  pool.on('error', () => {})
  await pool.query('CREATE TABLE pooled (n int)')
  const work = async (number) => {
    if (number % 4 === 0) {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        await client.query('INSERT INTO pooled VALUES ($1)', [number])
        if (number % 8 === 0) await client.query('SELECT 1/0')
        await client.query('COMMIT')
      } catch (error) {
        assert.equal(error.code, '22012')
        await client.query('ROLLBACK')
      } finally {
        client.release()
      }
    } else {
      assert.equal(await value(pool, 'SELECT $1::int', [number]), number)
    }
  }
  await Promise.all([...Array(400).keys()].map(work))
  assert.equal(await value(pool, 'SELECT count(*)::int FROM pooled'), 50)
  await everywhere(async () => assert.equal(await value(pool, 'SELECT 1'), 1))
  await pool.query('DROP TABLE pooled')
  await pool.end()
})

test('connections drop', () =>
  using(1, async (c) => {
    await c.query('CREATE TABLE gone (n int)')
    for (let turn = 0; turn < SERVERS + 2; turn++) {
      const other = await connect()
      await other.query('BEGIN')
      await other.query('LOCK TABLE gone')
      other.connection.stream.destroy()
      await c.query({ text: "SET statement_timeout TO '10s'" })
      assert.equal(await value(c, 'SELECT count(*)::int FROM gone'), 0)
    }
    await c.query('DROP TABLE gone')
    const other = await connect()
    // Behind the proxy a client outlives its server, and is told that nobody knows what became of its statement.
    await fails(other.query('SELECT pg_terminate_backend(pg_backend_pid())'), PROXIED ? '08007' : '57P01')
    if (PROXIED) {
      assert.equal(await value(other, 'SELECT 2'), 2)
      await other.end()
    }
    const admin = await connect({ connectionString: ADMIN })
    await using(1, async (idle) => {
      const pid = await value(idle, 'SELECT pg_backend_pid()')
      await admin.query('SELECT pg_terminate_backend($1, 5000)', [pid])
      await sleep(100)
      if (PROXIED) assert.equal(await value(idle, 'SELECT 1'), 1)
    })
    await admin.end()
  }))

async function main() {
  console.log(`node ${process.version}, pg ${require('pg/package.json').version}`)
  const only = process.env.SUITE_ONLY ?? ''
  const failed = []
  for (const { name, run } of tests.filter(({ name }) => name.includes(only))) {
    const began = Date.now()
    const hang = setTimeout(() => {
      console.log(`HANG ${name}`)
      process.exit(1)
    }, LIMIT)
    try {
      await run()
      console.log(`ok   ${name} (${Date.now() - began} ms)`)
    } catch (error) {
      failed.push(name)
      console.log(`FAIL ${name} (${Date.now() - began} ms)\n${error.stack}`)
    }
    clearTimeout(hang)
  }
  console.log(`${failed.length} failed: ${failed.join(', ')}`)
  process.exit(failed.length ? 1 : 0)
}

main()
