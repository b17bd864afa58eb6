//! What a text is by PostgreSQL's own parse tree, after ROUTING's proof: statement kinds, INTO, row locks, and names that a
//! stock database knows. The tree is walked as JSON, so that no kind of node can be forgotten.

use std::collections::HashSet;

use pgweir::sql::{Isolation, Modes, Within};
use serde_json::Value;
use tokio_postgres::Client;

#[derive(Debug)]
pub enum Verdict {
    Reads,
    Nothing,
    Begins(Modes),
    SetsTransaction(Modes),
    Ends,
    Within(Within),
    /// Something else than a query or COPY … TO STDOUT.
    Statement(#[allow(dead_code, reason = "printed")] String),
    Several,
    Locks,
    Into,
    /// A call of what is not known to be safe.
    Function(#[allow(dead_code, reason = "printed")] String),
    /// One that only the primary may show.
    Relation(#[allow(dead_code, reason = "printed")] String),
    Operator(#[allow(dead_code, reason = "printed")] String),
    /// It is in the session, not in the database.
    Temporary,
}

/// None: it is not SQL to this grammar.
pub fn verdict(text: &str, names: &Names) -> Option<Verdict> {
    let parsed = pg_query::parse(text, 0).ok()?;
    let tree = serde_json::to_value(&parsed.protobuf).expect("a tree is JSON");
    let statements = tree["stmts"].as_array().expect("a list of statements");
    let only = match &statements[..] {
        [] => return Some(Verdict::Nothing),
        [only] => &only["stmt"]["node"],
        _ => return Some(Verdict::Several),
    };
    let (kind, node) = only.as_object().and_then(|node| node.iter().next()).expect("a kind and its node");
    Some(match kind.as_str() {
        "SelectStmt" => offence(only, names).unwrap_or(Verdict::Reads),
        "CopyStmt" if goes_to_client(node) => copy_offence(node, names).unwrap_or(Verdict::Reads),
        "DeclareCursorStmt" if node["options"].as_i64().is_some_and(|options| options & HOLD == 0) => {
            offence(&node["query"], names).unwrap_or(Verdict::Within(Within::Cursor))
        }
        "FetchStmt" | "ClosePortalStmt" => Verdict::Within(Within::Cursor),
        "TransactionStmt" => transaction(node),
        "VariableSetStmt" if node["name"] == "TRANSACTION" => Verdict::SetsTransaction(modes(&node["args"])),
        kind => Verdict::Statement(kind.to_owned()),
    })
}

fn goes_to_client(copy: &Value) -> bool {
    copy["is_from"] == false && copy["is_program"] == false && copy["filename"] == ""
}

/// The options are words of COPY, and no SQL.
fn copy_offence(copy: &Value, names: &Names) -> Option<Verdict> {
    if let Some(relation) = copy["relation"].as_object() {
        return range(&Value::Object(relation.clone()), names);
    }
    offence(&copy["query"]["node"], names)
}

/// The first thing anywhere in it that a read cannot have.
fn offence(tree: &Value, names: &Names) -> Option<Verdict> {
    match tree {
        Value::Array(items) => items.iter().find_map(|item| offence(item, names)),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| of_field(name, value, names).or_else(|| offence(value, names)))
        }
        _ => None,
    }
}

fn of_field(name: &str, value: &Value, names: &Names) -> Option<Verdict> {
    let is = |bad: bool, verdict: fn(String) -> Verdict, what: &str| bad.then(|| verdict(what.to_owned()));
    match name {
        _ if value.is_null() => None,
        "into_clause" => Some(Verdict::Into),
        "LockingClause" => Some(Verdict::Locks),
        "RangeVar" | "relation" if value.get("relname").is_some() => range(value, names),
        "FuncCall" => {
            let called = last(&value["funcname"]);
            let own_setting = called == "current_setting" && names_own_setting(&value["args"]);
            is(!own_setting && !names.is_safe_function(&called), Verdict::Function, &called)
        }
        "RangeTableSample" => {
            let method = last(&value["method"]);
            is(!names.is_safe_function(&method), Verdict::Function, &method)
        }
        // `t.f` is `f(t)` where `t` has no such column.
        "ColumnRef" if value["fields"].as_array().is_some_and(|fields| fields.len() > 1) => {
            let attribute = last(&value["fields"]);
            is(names.is_unsafe_attribute(&attribute), Verdict::Function, &attribute)
        }
        "AIndirection" => {
            let attribute = last(&value["indirection"]);
            is(names.is_unsafe_attribute(&attribute), Verdict::Function, &attribute)
        }
        "AExpr" => {
            let operator = last(&value["name"]);
            is(names.volatile_operators.contains(&operator), Verdict::Operator, &operator)
        }
        kind if kind.ends_with("Stmt") && kind != "SelectStmt" => Some(Verdict::Statement(kind.to_owned())),
        _ => None,
    }
}

fn range(relation: &Value, names: &Names) -> Option<Verdict> {
    let text = |field: &str| relation[field].as_str().unwrap_or_default().to_owned();
    if text("schemaname").starts_with("pg_temp") {
        return Some(Verdict::Temporary);
    }
    names.is_primarys(&text("relname")).then(|| Verdict::Relation(text("relname")))
}

/// The last word of a list of names.
fn last(list: &Value) -> String {
    let words = list.as_array().into_iter().flatten();
    let word = words.filter_map(|item| item["node"]["String"]["sval"].as_str()).next_back();
    word.unwrap_or_default().to_owned()
}

/// A setting with a dot in its name, said by a constant: the session's own.
fn names_own_setting(arguments: &Value) -> bool {
    let constant = &arguments[0]["node"]["AConst"]["val"]["Sval"]["sval"];
    constant.as_str().is_some_and(|name| name.contains('.'))
}

/// CURSOR_OPT_HOLD.
const HOLD: i64 = 0x20;

/// TransactionStmtKind: BEGIN 1, START 2, COMMIT 3, ROLLBACK 4, SAVEPOINT 5, RELEASE 6, ROLLBACK TO 7.
fn transaction(node: &Value) -> Verdict {
    match node["kind"].as_i64() {
        Some(1 | 2) => Verdict::Begins(modes(&node["options"])),
        Some(3 | 4) if node["chain"] == false => Verdict::Ends,
        Some(5..=7) => Verdict::Within(Within::Savepoint),
        _ => Verdict::Statement("TransactionStmt".to_owned()),
    }
}

fn modes(options: &Value) -> Modes {
    let mut modes = Modes::default();
    for option in options.as_array().into_iter().flatten() {
        let option = &option["node"]["DefElem"];
        let value = &option["arg"]["node"]["AConst"]["val"];
        let number = value["Ival"]["ival"].as_i64();
        match option["defname"].as_str() {
            Some("transaction_read_only") => modes.read_only = number.map(|on| on != 0),
            Some("transaction_deferrable") => modes.deferrable = number.map(|on| on != 0),
            Some("transaction_isolation") => {
                modes.isolation = match value["Sval"]["sval"].as_str() {
                    Some("read uncommitted") => Some(Isolation::ReadUncommitted),
                    Some("read committed") => Some(Isolation::ReadCommitted),
                    Some("repeatable read") => Some(Isolation::RepeatableRead),
                    Some("serializable") => Some(Isolation::Serializable),
                    other => panic!("an isolation level {other:?}"),
                }
            }
            other => panic!("a mode {other:?}"),
        }
    }
    modes
}

/// What a stock database says of names, asked without the loader.
pub struct Names {
    safe_functions: HashSet<String>,
    unsafe_attributes: HashSet<String>,
    volatile_operators: HashSet<String>,
    primarys_views: HashSet<String>,
}

impl Names {
    pub async fn of(sql: &Client) -> Names {
        let column = async |query: &str| {
            let rows = sql.query(query, &[]).await.expect("a sound query");
            rows.iter().map(|row| row.get(0)).collect::<HashSet<String>>()
        };
        let mut names = Names {
            safe_functions: column("SELECT proname::text FROM pg_proc GROUP BY 1 HAVING bool_and(provolatile <> 'v')")
                .await,
            unsafe_attributes: column(
                "SELECT DISTINCT proname::text FROM pg_proc WHERE provolatile = 'v' AND pronargs = 1",
            )
            .await,
            volatile_operators: column(
                "SELECT oprname::text FROM pg_operator JOIN pg_proc ON oprcode = pg_proc.oid WHERE provolatile = 'v'",
            )
            .await,
            // Whose stored query calls a volatile function.
            primarys_views: column(
                "SELECT DISTINCT relname::text FROM pg_rewrite JOIN pg_class ON ev_class = pg_class.oid, \
                 LATERAL regexp_matches(ev_action::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS found, pg_proc \
                 WHERE pg_proc.oid = found[1]::oid AND provolatile = 'v'",
            )
            .await,
        };
        names.safe_functions.retain(|name| !answers_for_instance(name));
        names.safe_functions.extend(HARMLESS.map(str::to_owned));
        names
    }

    fn is_safe_function(&self, name: &str) -> bool {
        self.safe_functions.contains(name)
    }

    fn is_unsafe_attribute(&self, name: &str) -> bool {
        self.unsafe_attributes.contains(name) && !HARMLESS.contains(&name)
    }

    fn is_primarys(&self, name: &str) -> bool {
        self.primarys_views.contains(name) || name.starts_with("pg_stat_") || name.starts_with("pg_statio_")
    }
}

/// ROUTING's A1: volatile, and all the same anywhere.
const HARMLESS: [&str; 7] =
    ["clock_timestamp", "gen_random_uuid", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "random", "timeofday"];

/// ROUTING's A1: not volatile, and yet another answer on each server.
fn answers_for_instance(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "current_setting",
        "pg_backend_pid",
        "pg_conf_load_time",
        "pg_get_replication_slots",
        "pg_postmaster_start_time",
        "pg_xact_status",
        "set_config",
        "ts_stat",
        "version",
    ];
    const HEADS: [&str; 11] = [
        "cursor_to",
        "inet_client",
        "inet_server",
        "pg_control_",
        "pg_current_xact_id",
        "pg_last_",
        "pg_replication_",
        "pg_show_",
        "pg_stat_",
        "pg_walfile_",
        "txid_",
    ];
    NAMES.contains(&name)
        || HEADS.iter().any(|head| name.starts_with(head))
        || ["_snapshot", "_to_xml", "recovery"].iter().any(|part| name.contains(part))
        || name.starts_with("pg_") && name.ends_with("_size")
}
