"""SQLAlchemy against SUITE_URL, by psycopg and by asyncpg: one URL for what an application does, schema and all.

How much of its reading leaves the primary is printed, by the notices in which pgweir says where each batch runs. An
engine begins a transaction for all that it does, and such a transaction may still write: it is the primary's. Reads can
leave it where they are in AUTOCOMMIT, or in transactions that are declared READ ONLY.
"""

from collections import Counter
from contextlib import contextmanager
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship, selectinload

import suite
from suite import PROXIED, URL, equal, raises, test, until

EXPLAIN = "-c pgweir.explain=on"
ROUNDS = 40


class Base(DeclarativeBase):
    pass


labels = sa.Table(
    "labels",
    Base.metadata,
    sa.Column("book_id", sa.ForeignKey("book.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tag_id", sa.ForeignKey("tag.id"), primary_key=True),
)


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(80), unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan", order_by="Book.id")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    price: Mapped[Decimal] = mapped_column(sa.Numeric(8, 2))
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")
    tags: Mapped[list["Tag"]] = relationship(secondary=labels, order_by="Tag.word")


class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(unique=True)


class Decisions:
    """Where pgweir ran things."""

    def __init__(self):
        self.all = Counter()

    def hear(self, text):
        if text.startswith("pgweir: "):
            self.all[text.split()[1], text.rsplit("(")[-1].rstrip(")")] += 1

    def standby(self):
        return sum(count for (place, _), count in self.all.items() if place == "standby")

    def tell(self, what):
        print(f"offloaded: {what}: {self.standby()} of {self.all.total()}, {dict(self.all)}", flush=True)


def of_psycopg(decisions):
    engine = sa.create_engine(
        sa.make_url(URL).set(drivername="postgresql+psycopg"), connect_args={"options": EXPLAIN}
    )

    @sa.event.listens_for(engine, "connect")
    def _(connection, _record):
        connection.add_notice_handler(lambda said: decisions.hear(said.message_primary))

    return engine


def of_asyncpg(decisions):
    engine = create_async_engine(
        sa.make_url(URL).set(drivername="postgresql+asyncpg"),
        connect_args={"server_settings": {"options": EXPLAIN}, "ssl": False},
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _(connection, _record):
        connection.driver_connection.add_log_listener(lambda _, said: decisions.hear(said.message))

    return engine


@contextmanager
def ground():
    """An engine before new tables, and what pgweir says of it."""
    decisions = Decisions()
    engine = of_psycopg(decisions)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    try:
        yield engine, decisions
    finally:
        Base.metadata.drop_all(engine)
        engine.dispose()


def split(engine, decisions):
    """After DDL a moment passes before anything is proven to read."""
    reads = engine.execution_options(isolation_level="AUTOCOMMIT")

    def one_leaves():
        decisions.all.clear()
        with reads.connect() as c:
            c.execute(sa.select(Author.name))
        return decisions.standby() > 0

    if PROXIED:
        until(one_leaves)
    decisions.all.clear()
    return reads


def author(number):
    words = [Tag(word=f"{word} {number}") for word in ("old", "wet")]
    books = [Book(title=f"title {number}.{n}", price=Decimal(n) / 4, tags=words[: n + 1]) for n in range(3)]
    return Author(name=f"author {number}", books=books)


def shape(one):
    return [(book.title, book.price, [tag.word for tag in book.tags]) for book in one.books]


def expected(number, price=Decimal(1) / 4):
    words = [f"old {number}", f"wet {number}"]
    return [(f"title {number}.{n}", price * n, words[: n + 1]) for n in range(3)]


@test
def a_schema_and_its_reflection():
    with ground() as (engine, _):
        reads = engine.execution_options(isolation_level="AUTOCOMMIT")
        for turn in range(5):
            with engine.begin() as c:
                c.execute(sa.schema.DDL(f"ALTER TABLE book ADD pages_{turn} int NOT NULL DEFAULT {turn}"))
                c.execute(sa.schema.DDL(f"CREATE INDEX by_pages_{turn} ON book (pages_{turn})"))
            # Another connection, and at once.
            seen = sa.inspect(reads)
            assert f"pages_{turn}" in [column["name"] for column in seen.get_columns("book")]
            assert f"by_pages_{turn}" in [index["name"] for index in seen.get_indexes("book")]
            with reads.connect() as c:
                equal(c.execute(sa.text(f"SELECT count(pages_{turn}) FROM book")).scalar(), 0)
        seen = sa.inspect(reads)
        equal([key["referred_table"] for key in seen.get_foreign_keys("book")], ["author"])
        equal(sorted(seen.get_table_names()), ["author", "book", "labels", "tag"])
        reflected = sa.Table("book", sa.MetaData(), autoload_with=engine)
        equal(reflected.c.price.type.precision, 8)


@test
def relations_read_after_each_write():
    with ground() as (engine, decisions):
        reads = split(engine, decisions)
        loads = [selectinload(Author.books).selectinload(Book.tags), joinedload(Author.books).joinedload(Book.tags)]
        for number in range(ROUNDS):
            with Session(engine) as s:
                s.add(author(number))
                s.commit()
            with Session(reads) as s:
                query = sa.select(Author).options(loads[number % 2]).where(Author.name == f"author {number}")
                equal(shape(s.scalars(query).unique().one()), expected(number))
                equal(s.scalar(sa.select(sa.func.count()).select_from(Book)), 3 * (number + 1))
            with Session(engine) as s:
                s.execute(sa.update(Book).where(Book.title.like(f"title {number}.%")).values(price=Book.price * 2))
                s.commit()
            with Session(reads) as s:
                query = sa.select(sa.func.sum(Book.price)).join(Author).where(Author.name == f"author {number}")
                equal(s.scalar(query), Decimal(3) / 2)
        decisions.tell("psycopg, writes and reads in AUTOCOMMIT")
        with Session(engine) as s:
            s.delete(s.scalars(sa.select(Author).where(Author.name == "author 7")).one())
            s.commit()
        with Session(reads) as s:
            equal(s.scalar(sa.select(sa.func.count()).select_from(Book)), 3 * (ROUNDS - 1))
            equal(s.scalar(sa.select(sa.func.count()).select_from(labels)), 5 * (ROUNDS - 1))
        assert not PROXIED or decisions.standby() > 0


@test
def what_leaves_the_primary():
    with ground() as (engine, decisions):
        reads = split(engine, decisions)
        with Session(engine) as s:
            s.add_all([author(number) for number in range(10)])
            s.commit()
        declared = engine.execution_options(postgresql_readonly=True)
        shares = {}
        for what, by in [("transactions", engine), ("AUTOCOMMIT", reads), ("READ ONLY transactions", declared)]:
            decisions.all.clear()
            for turn in range(ROUNDS):
                with Session(by) as s:
                    query = sa.select(Author).where(Author.name == f"author {turn % 10}")
                    equal(shape(s.scalars(query).one()), expected(turn % 10))
            decisions.tell(f"psycopg, reads in {what}")
            shares[what] = decisions.standby()
        if PROXIED:
            equal(shares["transactions"], 0)
            assert shares["AUTOCOMMIT"] > 0 and shares["READ ONLY transactions"] > 0, shares


@test
def transactions():
    with ground() as (engine, decisions):
        reads = split(engine, decisions)
        count = sa.select(sa.func.count()).select_from(Author)
        with Session(engine) as s:
            s.add(author(1))
            s.flush()
            equal(s.scalar(count), 1)
            with Session(reads) as other:
                equal(other.scalar(count), 0)
            s.rollback()
            equal(s.scalar(count), 0)
        with Session(engine) as s:
            s.add(author(1))
            s.commit()
            with raises(IntegrityError):
                with s.begin_nested():
                    s.add(Author(name="author 1"))
                    s.flush()
            s.add(author(2))
            s.commit()
        with Session(reads) as s:
            equal(s.scalar(count), 2)
        for turn in range(ROUNDS):
            with Session(engine) as s, s.begin():
                one = s.scalars(sa.select(Author).where(Author.name.like("author%")).order_by("id").with_for_update()).first()
                one.name = f"author {100 + turn}"
            with reads.connect() as c:
                equal(c.scalar(sa.select(Author.name).order_by("id").limit(1)), f"author {100 + turn}")


@test
def read_only_transactions():
    with ground() as (engine, decisions):
        split(engine, decisions)
        with Session(engine) as s:
            s.add(author(1))
            s.commit()
        declared = engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
        with declared.connect() as c:
            before = c.scalar(sa.select(sa.func.count()).select_from(Book))
            with Session(engine) as s:
                s.add(author(2))
                s.commit()
            equal(c.scalar(sa.select(sa.func.count()).select_from(Book)), before)
        with declared.connect() as c:
            equal(c.scalar(sa.select(sa.func.count()).select_from(Book)), before + 3)
            with raises(DBAPIError, "read-only transaction"):
                c.execute(sa.insert(Tag).values(word="never"))
        with Session(engine) as s:
            equal(s.scalar(sa.select(sa.func.count()).where(Tag.word == "never")), 0)


@test
def rows_in_a_stream():
    with ground() as (engine, decisions):
        split(engine, decisions)
        with engine.begin() as c:
            c.execute(sa.insert(Tag), [{"word": f"word {n}"} for n in range(5_000)])
        for by in (engine, engine.execution_options(postgresql_readonly=True)):
            with Session(by) as s:
                got = list(s.scalars(sa.select(Tag.word).order_by(Tag.id).execution_options(yield_per=100)))
                equal(got, [f"word {n}" for n in range(5_000)])


@test
async def by_asyncpg():
    with ground() as (plain, of_plain):
        split(plain, of_plain)
        decisions = Decisions()
        engine = of_asyncpg(decisions)
        reads = engine.execution_options(isolation_level="AUTOCOMMIT")
        declared = engine.execution_options(postgresql_readonly=True)
        for number in range(ROUNDS):
            async with AsyncSession(engine) as s:
                s.add(author(number))
                await s.commit()
            for by in (reads, declared):
                async with AsyncSession(by) as s:
                    query = sa.select(Author).where(Author.name == f"author {number}")
                    query = query.options(selectinload(Author.books).selectinload(Book.tags))
                    equal(shape((await s.scalars(query)).one()), expected(number))
            async with AsyncSession(engine) as s:
                s.add(Author(name=f"author {number}"))
                with raises(IntegrityError):
                    await s.commit()
        decisions.tell("asyncpg, writes, and reads in AUTOCOMMIT and READ ONLY transactions")
        assert not PROXIED or decisions.standby() > 0
        await engine.dispose()


if __name__ == "__main__":
    print(f"SQLAlchemy {sa.__version__}")
    suite.main()
