// TypeORM against SUITE_URL: one URL for its schema, its migrations, its transactions and its reads. Outside a transaction
// each of its queries stands by itself, so pgweir may run those that read on the standby: how many is printed, by
// the notices in which it says so. suite.py says which variables there are.
'use strict'

const assert = require('node:assert/strict')
const { setTimeout: sleep } = require('node:timers/promises')
const pg = require('pg')
const { DataSource, EntitySchema, Like } = require('typeorm')

const URL_ = process.env.SUITE_URL
const PROXIED = process.env.SUITE_SERVERS !== undefined
const LIMIT = 60_000
const ROUNDS = 40

const tests = []
const test = (name, run) => tests.push({ name, run })

// Where pgweir ran things, by place and reason.
class Decisions {
  all = {}

  hear({ message }) {
    const [, place, reason] = /^pgweir: (\w+) .*\((.*)\)$/.exec(message ?? '') ?? []
    if (place) this.all[`${place} ${reason}`] = (this.all[`${place} ${reason}`] ?? 0) + 1
  }

  clear() {
    this.all = {}
  }

  count(part = '') {
    return Object.entries(this.all).reduce((sum, [name, count]) => sum + (name.startsWith(part) ? count : 0), 0)
  }

  tell(what) {
    console.log(`offloaded: TypeORM, ${what}: ${this.count('standby')} of ${this.count()}, ${JSON.stringify(this.all)}`)
  }
}

const number = { type: Number }
const Author = new EntitySchema({
  name: 'author',
  columns: { id: { ...number, primary: true, generated: true }, name: { type: String, unique: true }, version: { ...number, version: true } },
  relations: { books: { type: 'one-to-many', target: 'book', inverseSide: 'author', cascade: true } },
})
const Book = new EntitySchema({
  name: 'book',
  columns: { id: { ...number, primary: true, generated: true }, title: { type: String }, pages: number, gone: { type: Date, deleteDate: true } },
  relations: {
    author: { type: 'many-to-one', target: 'author', inverseSide: 'books', onDelete: 'CASCADE' },
    tags: { type: 'many-to-many', target: 'tag', joinTable: true, cascade: true },
  },
})
const Tag = new EntitySchema({ name: 'tag', columns: { word: { type: String, primary: true } } })

class Audit1700000000000 {
  name = 'Audit1700000000000'

  async up(runner) {
    await runner.query('CREATE TABLE audit (id serial PRIMARY KEY, what text NOT NULL)')
    await runner.query("INSERT INTO audit (what) SELECT 'tag ' || word FROM tag")
  }

  async down(runner) {
    await runner.query('DROP TABLE audit')
  }
}

class Wide1700000000001 {
  name = 'Wide1700000000001'

  async up(runner) {
    await runner.query("ALTER TABLE audit ADD at timestamptz NOT NULL DEFAULT now(), ADD who text DEFAULT 'nobody'")
    await runner.query('CREATE INDEX audit_by_who ON audit (who)')
  }

  async down(runner) {
    await runner.query('ALTER TABLE audit DROP at, DROP who')
  }
}

// A data source before new tables, and what pgweir says of it.
async function using(run) {
  const decisions = new Decisions()
  class Pool extends pg.Pool {
    constructor(options) {
      super(options)
      this.on('connect', (client) => client.on('notice', (notice) => decisions.hear(notice)))
    }
  }
  const source = new DataSource({
    type: 'postgres',
    url: URL_,
    driver: { ...pg, Pool },
    entities: [Author, Book, Tag],
    migrations: [Audit1700000000000, Wide1700000000001],
    extra: { options: '-c pgweir.explain=on', max: 6 },
  })
  await source.initialize()
  try {
    await source.dropDatabase()
    await source.synchronize()
    await run(source, decisions)
  } finally {
    await source.destroy()
  }
}

// After DDL a moment passes before anything is proven to read.
async function split(source, decisions) {
  decisions.clear()
  for (let turn = 0; PROXIED && decisions.count('standby') === 0; turn++) {
    assert.ok(turn < 200, 'no read leaves the primary')
    await sleep(50)
    await source.getRepository('author').count()
  }
  decisions.clear()
}

const author = (n) => ({
  name: `author ${n}`,
  books: [0, 1, 2].map((m) => ({ title: `title ${n}.${m}`, pages: m * 10, tags: ['old', 'wet'].slice(0, m).map((word) => ({ word: `${word} ${n}` })) })),
})

const shape = (one) => ({
  name: one.name,
  books: one.books
    .map(({ title, pages, tags }) => ({ title, pages, tags: tags.map(({ word }) => ({ word })).sort((a, b) => a.word.localeCompare(b.word)) }))
    .sort((a, b) => a.title.localeCompare(b.title)),
})

test('a schema is what was asked for', () =>
  using(async (source) => {
    const { upQueries } = await source.driver.createSchemaBuilder().log()
    assert.deepEqual(upQueries.map(({ query }) => query), [])
    const runner = source.createQueryRunner()
    const table = await runner.getTable('book')
    assert.deepEqual(table.columns.map(({ name }) => name).sort(), ['authorId', 'gone', 'id', 'pages', 'title'])
    assert.deepEqual(table.foreignKeys.map(({ referencedTableName }) => referencedTableName), ['author'])
    await runner.release()
  }))

test('migrations', () =>
  using(async (source) => {
    await source.getRepository('tag').save([{ word: 'a' }, { word: 'b' }])
    assert.equal(await source.showMigrations(), true)
    assert.equal((await source.runMigrations({ transaction: 'each' })).length, 2)
    const audit = () => source.query('SELECT what, who FROM audit ORDER BY what')
    assert.deepEqual(await audit(), [{ what: 'tag a', who: 'nobody' }, { what: 'tag b', who: 'nobody' }])
    assert.equal(await source.showMigrations(), false)
    for (let turn = 0; turn < 5; turn++) {
      await source.undoLastMigration()
      await assert.rejects(audit(), { code: '42703' })
      await source.runMigrations()
      assert.equal((await audit()).length, 2)
    }
    await source.undoLastMigration()
    await source.undoLastMigration()
    await assert.rejects(audit(), { code: '42P01' })
  }))

test('relations, read after each write', () =>
  using(async (source, decisions) => {
    await split(source, decisions)
    const [authors, books] = ['author', 'book'].map((name) => source.getRepository(name))
    for (let n = 0; n < ROUNDS; n++) {
      const saved = await authors.save(author(n))
      const found = await authors.findOneOrFail({ where: { id: saved.id }, relations: { books: { tags: true } } })
      assert.deepEqual(shape(found), author(n))
      const joined = await authors.createQueryBuilder('a').leftJoinAndSelect('a.books', 'b').leftJoinAndSelect('b.tags', 't').where('a.name = :name', { name: `author ${n}` }).getOne()
      assert.deepEqual(shape(joined), author(n))
      await books.increment({ title: Like(`title ${n}.%`) }, 'pages', 1)
      assert.equal(await books.sum('pages', { title: Like(`title ${n}.%`) }), 33)
      found.name = `renamed ${n}`
      await authors.save(found)
      assert.equal((await authors.findOneByOrFail({ id: saved.id })).version, 2)
      await books.softDelete({ title: `title ${n}.0` })
      const [page, count] = await books.findAndCount({ where: { author: { id: saved.id } }, order: { id: 'DESC' }, take: 1, relations: { author: true } })
      assert.deepEqual([page[0].title, page[0].author.name, count], [`title ${n}.2`, `renamed ${n}`, 2])
      await source.getRepository('tag').upsert({ word: `old ${n}` }, ['word'])
    }
    decisions.tell('writes and reads')
    if (PROXIED) assert.ok(decisions.count('standby') > 0)
    await authors.delete({ name: Like('renamed%') })
    assert.deepEqual([await authors.count(), await books.count({ withDeleted: true })], [0, 0])
  }))

test('reads in many clients', () =>
  using(async (source, decisions) => {
    await split(source, decisions)
    const authors = source.getRepository('author')
    await authors.save([...Array(20).keys()].map(author))
    decisions.clear()
    const work = async (n) => {
      const found = await authors.findOne({ where: { name: `author ${n % 20}` }, relations: { books: { tags: true } } })
      assert.deepEqual(shape(found), author(n % 20))
    }
    await Promise.all([...Array(10 * ROUNDS).keys()].map(work))
    decisions.tell('reads alone')
    if (PROXIED) assert.ok(decisions.count('standby') > 0)
  }))

test('transactions', () =>
  using(async (source, decisions) => {
    await split(source, decisions)
    const authors = source.getRepository('author')
    const fall = source.transaction(async (manager) => {
      await manager.getRepository('author').save(author(1))
      assert.equal(await manager.getRepository('author').count(), 1)
      assert.equal(await authors.count(), 0)
      throw new Error('on purpose')
    })
    await assert.rejects(fall, /on purpose/)
    assert.equal(await authors.count(), 0)
    await authors.save(author(1))
    await assert.rejects(authors.insert({ name: 'author 1' }), { code: '23505' })
    // Each adds one to what it read: none is lost.
    const add = () =>
      source.transaction(async (manager) => {
        const book = await manager.getRepository('book').findOne({ where: { title: 'title 1.0' }, lock: { mode: 'pessimistic_write' } })
        await manager.getRepository('book').update({ id: book.id }, { pages: book.pages + 1 })
      })
    await Promise.all(Array.from({ length: ROUNDS }, add))
    assert.equal((await source.getRepository('book').findOneByOrFail({ title: 'title 1.0' })).pages, ROUNDS)
    const runner = source.createQueryRunner()
    await runner.startTransaction('REPEATABLE READ')
    const before = await runner.manager.getRepository('author').count()
    await authors.save(author(2))
    assert.equal(await runner.manager.getRepository('author').count(), before)
    await runner.commitTransaction()
    assert.equal(await runner.manager.getRepository('author').count(), before + 1)
    await runner.release()
  }))

test('rows in a stream of pages', () =>
  using(async (source, decisions) => {
    const tags = source.getRepository('tag')
    const words = [...Array(2_000).keys()].map((n) => `word ${String(n).padStart(4, '0')}`)
    await tags.insert(words.map((word) => ({ word })))
    await split(source, decisions)
    const got = []
    for (let skip = 0; skip < words.length; skip += 100) got.push(...(await tags.find({ order: { word: 'ASC' }, skip, take: 100 })))
    assert.deepEqual(got.map(({ word }) => word), words)
  }))

async function main() {
  console.log(`node ${process.version}, TypeORM`)
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
