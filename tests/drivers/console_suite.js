// The console through node-postgres. SUITE_CONSOLE_URL is its URL.

const assert = require("node:assert/strict");
const { Client, Pool, types } = require("pg");

const url = process.env.SUITE_CONSOLE_URL;

async function client_asks() {
    const console = new Client(url);
    await console.connect();
    const pools = await console.query("SHOW POOLS");
    assert.equal(pools.fields.find((field) => field.name === "cl_active").dataTypeID, types.builtins.INT4);
    assert.equal(pools.rows.find((row) => row.database === "pgbouncer").pool_mode, "statement");
    for (let use = 0; use < 3; use++) {
        const state = await console.query({ name: "state", text: "SHOW STATE" });
        assert.deepEqual(state.rows[0], { key: "active", value: "yes" });
    }
    const stats = await console.query({ text: "SHOW STATS", rowMode: "array", values: [] });
    assert.equal(stats.rows[0].length, 23);
    await assert.rejects(console.query("SELECT now()"), { code: "42601" });
    await assert.rejects(console.query("SHOW STATE", ["1"]), { code: "22023" });
    assert.equal((await console.query("RELOAD")).command, "RELOAD");
    assert.equal((await console.query("")).rows.length, 0);
    const several = await console.query("SHOW VERSION; SHOW STATE");
    assert.equal(several.length, 2);
    await console.end();
}

async function pool_asks() {
    const pool = new Pool({ connectionString: url, max: 3 });
    const answers = await Promise.all(Array.from({ length: 9 }, () => pool.query("SHOW LISTS")));
    assert.ok(answers.every((answer) => answer.rows.length === 14));
    await pool.end();
}

async function main() {
    for (const test of [client_asks, pool_asks]) {
        await test();
        console.log(`ok   ${test.name}`);
    }
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
