//! `src/hot.ld` names functions by hand, and its linker says nothing of a name that is nowhere.

use std::process::Command;

/// The names, as parts that stand one behind the other.
fn patterns() -> Vec<&'static str> {
    let lines = include_str!("../src/hot.ld").lines();
    lines.filter_map(|line| line.trim().strip_prefix("*(.text.*")?.strip_suffix("*)")).collect()
}

fn fits(pattern: &str, symbol: &str) -> bool {
    pattern.split('*').try_fold(symbol, |rest, part| Some(rest.split_once(part)?.1)).is_some()
}

#[test]
fn a_name_is_its_parts_in_order() {
    assert!(fits("4pool*3put", "_ZN6pgweir4pool13Pool$LT$T$GT$3put17h0E"));
    assert!(!fits("3put*4pool", "_ZN6pgweir4pool13Pool$LT$T$GT$3put17h0E") && !fits("3gone", "_ZN3put"));
}

#[test]
fn every_function_is_in_the_program() {
    let listed =
        Command::new("nm").arg(env!("CARGO_BIN_EXE_pgweir")).output().expect("nm, which comes with the linker");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let symbols = String::from_utf8_lossy(&listed.stdout);
    let patterns = patterns();
    assert!(patterns.len() > 50, "the file's lines are read");
    let is_gone = |pattern: &&&str| !symbols.lines().any(|symbol| fits(pattern, symbol));
    let gone: Vec<_> = patterns.iter().filter(is_gone).collect();
    assert!(gone.is_empty(), "{gone:#?}");
}
