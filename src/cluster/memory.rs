//! [pure] What a list of servers must not forget while the proxy runs or restarts: whose copies they are, and the highest
//! timeline that any of them showed. As a text: a line for each list, `IDENTIFIER TIMELINE` and its addresses, by tabs.

/// Of one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub system: Option<u64>,
    /// Of that system. `None`: not known.
    pub timeline: Option<u32>,
}

/// Of all clusters, each with the addresses that it was seen at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memories {
    all: Vec<(Memory, Vec<String>)>,
}

/// The first line of the text, with the version of what follows.
const HEAD: &str = "pgweir topology 1";

impl Memories {
    pub fn parse(text: &str) -> Result<Memories, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("line 1: expected \"{HEAD}\""));
        }
        let parsed = lines.enumerate().map(|(n, line)| {
            entry(line).ok_or_else(|| format!("line {}: expected an identifier, a timeline and addresses", n + 2))
        });
        Ok(Memories { all: parsed.collect::<Result<_, _>>()? })
    }

    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for (memory, servers) in &self.all {
            let number = |number: Option<u64>| number.unwrap_or_default().to_string();
            let (system, timeline) = (number(memory.system), number(memory.timeline.map(u64::from)));
            text.push_str(&[&[system, timeline], servers.as_slice()].concat().join("\t"));
            text.push('\n');
        }
        text
    }

    /// Of the list that has a server in common with this one; of several the one that has seen most.
    pub fn recall(&self, servers: &[String]) -> Memory {
        let shared = self.all.iter().filter(|(_, known)| is_shared(known, servers));
        shared.map(|(memory, _)| *memory).max_by_key(|memory| memory.timeline).unwrap_or_default()
    }

    /// In the place of every list that has a server in common with this one. Whether anything changed.
    pub fn remember(&mut self, servers: &[String], memory: Memory) -> bool {
        if memory == Memory::default() || self.all.iter().any(|(was, known)| *was == memory && known == servers) {
            return false;
        }
        self.all.retain(|(_, known)| !is_shared(known, servers));
        self.all.push((memory, servers.to_vec()));
        true
    }

    /// Of every list that has a server in common with this one. Whether there was any.
    pub fn forget(&mut self, servers: &[String]) -> bool {
        let before = self.all.len();
        self.all.retain(|(_, known)| !is_shared(known, servers));
        self.all.len() < before
    }
}

fn is_shared(known: &[String], servers: &[String]) -> bool {
    known.iter().any(|server| servers.contains(server))
}

fn entry(line: &str) -> Option<(Memory, Vec<String>)> {
    let mut parts = line.split('\t');
    let system: u64 = parts.next()?.parse().ok()?;
    let timeline: u32 = parts.next()?.parse().ok()?;
    let servers: Vec<String> = parts.map(str::to_owned).collect();
    let memory = Memory { system: Some(system).filter(|n| *n != 0), timeline: Some(timeline).filter(|n| *n != 0) };
    (!servers.is_empty() && servers.iter().all(|server| !server.is_empty())).then_some((memory, servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn memory(system: u64, timeline: u32) -> Memory {
        Memory { system: Some(system), timeline: Some(timeline) }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut all = Memories::default();
        assert_eq!(Memories::parse(&all.text()), Ok(all.clone()));
        assert!(all.remember(&names(&["a:1", "b:2"]), memory(7, 3)));
        assert!(all.remember(&names(&["/my sockets:5432"]), Memory { system: Some(u64::MAX), timeline: None }));
        let text = all.text();
        assert_eq!(text, "pgweir topology 1\n7\t3\ta:1\tb:2\n18446744073709551615\t0\t/my sockets:5432\n");
        assert_eq!(Memories::parse(&text), Ok(all));
    }

    #[test]
    fn a_wrong_text_is_refused_with_its_line() {
        for (text, line) in [
            ("", 1),
            ("[pgweir]\n", 1),
            ("pgweir topology 2\n", 1),
            ("pgweir topology 1\n7\t3\n", 2),
            ("pgweir topology 1\n7\t3\ta:1\n7 3 a:1\n", 3),
            ("pgweir topology 1\n-7\t3\ta:1\n", 2),
            ("pgweir topology 1\n7\t5000000000\ta:1\n", 2),
            ("pgweir topology 1\n\n", 2),
        ] {
            let refused = Memories::parse(text).expect_err(text);
            assert!(refused.starts_with(&format!("line {line}: ")), "{text}: {refused}");
        }
    }

    #[test]
    fn lists_that_share_a_server_share_their_memory() {
        let mut all = Memories::default();
        assert_eq!(all.recall(&names(&["a:1"])), Memory::default());
        assert!(!all.remember(&names(&["a:1"]), Memory::default()));
        all.remember(&names(&["a:1", "b:2"]), memory(7, 3));
        all.remember(&names(&["c:1"]), memory(8, 9));
        assert!(!all.remember(&names(&["c:1"]), memory(8, 9)));
        assert_eq!(all.recall(&names(&["b:2", "x:1"])), memory(7, 3));
        all.remember(&names(&["x:1", "a:1"]), memory(7, 4));
        assert_eq!(all.all.len(), 2);
        assert_eq!((all.recall(&names(&["a:1"])), all.recall(&names(&["b:2"]))), (memory(7, 4), Memory::default()));
    }
}
