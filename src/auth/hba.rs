//! [pure] `auth_hba_file`: by which method who may log in from where, as `pg_hba.conf` says it.
//!
//! ```text
//! # type    database        user           address              method
//! local     all             all                                 peer map=staff
//! hostssl   "my db",test1   @admins.txt    10.0.0.0/8           scram-sha-256
//! host      sameuser        all            ::1/128              md5
//! host      all             all            0.0.0.0  0.0.0.0     reject
//! ```
//!
//! The first line that fits decides. Where PgBouncer leaves out a line that it does not understand, the whole file is
//! refused here: a missing `reject` would let somebody in. What PostgreSQL offers beyond that (host names, `samehost`,
//! a role's members, regular expressions, included files) is a flaw as well, and never read as a literal name.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::lines::{Flaw, each, quoted};

/// How the client of a line proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Cert,
    Md5,
    /// A password in clear.
    Password,
    Peer,
    Reject,
    ScramSha256,
    Trust,
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Unix,
    Tcp { address: IpAddr, tls: bool },
}

/// All lines of a file, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Counted from 1.
    pub line: usize,
    /// As it is written.
    pub text: Box<str>,
    kind: Kind,
    databases: Names,
    users: Names,
    pub method: Method,
    /// The map of `auth_ident_file` that says which name outside may log in as which user.
    pub map: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Host(Addresses),
    HostSsl(Addresses),
    HostNoSsl(Addresses),
}

/// What a client wants to connect to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Database(&'a str),
    /// By a physical replication connection.
    Cluster,
}

/// Octets and mask; IPv4 addresses that came by an IPv6 socket count as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    All,
    V4 { net: u32, mask: u32 },
    V6 { net: u128, mask: u128 },
}

/// Which databases, or which users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    /// The database of the user's own name.
    same: bool,
    /// Physical replication connections.
    replication: bool,
    listed: BTreeSet<Box<str>>,
}

/// Reads a file that `@name` includes; the error says why it cannot be read.
pub type Include<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// How deep files of names may include each other, as in PostgreSQL.
const DEPTH: usize = 10;

impl Rules {
    /// `file` is where `text` comes from: included files lie beside it. All flaws are told at once.
    pub fn parse(file: &Path, text: &str, include: Include<'_>) -> Result<Rules, Vec<Flaw>> {
        let mut rules = Vec::new();
        each(text, &['#'], |line, text| {
            rules.push(rule(line, text, file, include)?);
            Ok::<_, String>(())
        })?;
        Ok(Rules(rules))
    }

    /// The line that decides about this client; None: nobody allows it.
    pub fn find(&self, from: From, target: Target<'_>, user: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| {
            rule.kind.fits(from) && rule.databases.hold_target(target, user) && rule.users.hold(user, user)
        })
    }

    /// All lines, in their order.
    pub fn all(&self) -> &[Rule] {
        &self.0
    }

    /// The first line with this method.
    pub fn first_of(&self, method: Method) -> Option<usize> {
        self.0.iter().find(|rule| rule.method == method).map(|rule| rule.line)
    }

    /// The lines that need a map, with its name.
    pub fn maps(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().filter_map(|rule| Some((rule.line, rule.map.as_deref()?)))
    }
}

impl Kind {
    fn fits(&self, from: From) -> bool {
        match (self, from) {
            (Kind::Local, From::Unix) => true,
            (Kind::Host(addresses), From::Tcp { address, .. })
            | (Kind::HostSsl(addresses), From::Tcp { address, tls: true })
            | (Kind::HostNoSsl(addresses), From::Tcp { address, tls: false }) => addresses.hold(address),
            _ => false,
        }
    }
}

impl Addresses {
    fn hold(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Addresses::All, _) => true,
            (Addresses::V4 { net, mask }, IpAddr::V4(address)) => u32::from(address) & mask == *net,
            (Addresses::V6 { net, mask }, IpAddr::V6(address)) => u128::from(address) & mask == *net,
            _ => false,
        }
    }

    /// `address` and its mask, as a number of bits or as an address.
    fn parse(address: &str, mask: &str) -> Option<Addresses> {
        let bits = |longest: u32| {
            let digits = mask.bytes().all(|byte| byte.is_ascii_digit());
            mask.parse::<u32>().ok().filter(|bits| digits && *bits <= longest)
        };
        match address.parse().ok()? {
            IpAddr::V4(net) => {
                let short = bits(32).map(|bits| u32::MAX.checked_shl(32 - bits).unwrap_or(0));
                let mask = short.or_else(|| mask.parse::<Ipv4Addr>().ok().map(u32::from))?;
                Some(Addresses::V4 { net: u32::from(net) & mask, mask })
            }
            IpAddr::V6(net) => {
                let short = bits(128).map(|bits| u128::MAX.checked_shl(128 - bits).unwrap_or(0));
                let mask = short.or_else(|| mask.parse::<Ipv6Addr>().ok().map(u128::from))?;
                Some(Addresses::V6 { net: u128::from(net) & mask, mask })
            }
        }
    }
}

impl Names {
    /// `all` is all databases, and the cluster is none.
    fn hold_target(&self, target: Target<'_>, user: &str) -> bool {
        match target {
            Target::Cluster => self.replication,
            Target::Database(name) => self.hold(name, user),
        }
    }

    /// `other`: the user where databases are asked for, and the other way round.
    fn hold(&self, name: &str, other: &str) -> bool {
        self.all || (self.same && name == other) || self.listed.contains(name)
    }

    fn add(&mut self, word: &Word<'_>, of: Of, file: &Path, include: Include<'_>, depth: usize) -> Result<(), String> {
        match (&*word.text, word.quoted) {
            ("all", false) => self.all = true,
            ("sameuser", false) if of == Of::Databases => self.same = true,
            ("replication", false) if of == Of::Databases => self.replication = true,
            ("samerole" | "samegroup", false) if of == Of::Databases => {
                return Err("a database; the members of a role are not known here".to_owned());
            }
            (name, false) if name.starts_with('+') => {
                return Err("a name; the members of a role are not known here".to_owned());
            }
            (name, _) if name.starts_with('/') => {
                return Err("a name to compare whole; regular expressions are not supported".to_owned());
            }
            (name, false) if name.starts_with('@') => {
                let path = file.with_file_name(name.trim_start_matches('@'));
                return self.add_file(&path, of, include, depth);
            }
            (name, _) => _ = self.listed.insert(name.into()),
        }
        Ok(())
    }

    /// Names on lines, with commas or blanks between them.
    fn add_file(&mut self, file: &Path, of: Of, include: Include<'_>, depth: usize) -> Result<(), String> {
        if depth == DEPTH {
            return Err(format!("files that include each other at most {DEPTH} deep"));
        }
        let text = include(file).map_err(|error| format!("a readable file {}: {error}", file.display()))?;
        for line in text.lines() {
            for token in tokens(line)? {
                if let Token::Word(word) = token {
                    self.add(&word, of, file, include, depth + 1)?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Databases,
    Users,
}

/// One value of a line. Quoted it is nothing but itself.
struct Word<'a> {
    text: Cow<'a, str>,
    quoted: bool,
}

enum Token<'a> {
    Comma,
    Word(Word<'a>),
}

/// Up to the line's end or its comment.
fn tokens(line: &str) -> Result<Vec<Token<'_>>, String> {
    const END: [char; 5] = [' ', '\t', ',', '#', '"'];
    let mut all = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        if let Some(after) = rest.strip_prefix(',') {
            all.push(Token::Comma);
            rest = after.trim_start();
        } else if rest.starts_with('"') {
            let (text, after) = quoted(rest).ok_or("a double quote that closes what was opened on this line")?;
            all.push(Token::Word(Word { text: Cow::Owned(text.as_str().to_owned()), quoted: true }));
            rest = after.trim_start();
        } else {
            let (text, after) = rest.split_at(rest.find(END).unwrap_or(rest.len()));
            all.push(Token::Word(Word { text: Cow::Borrowed(text), quoted: false }));
            rest = after.trim_start();
        }
    }
    Ok(all)
}

/// What is left of a line.
struct Rest<'a>(std::iter::Peekable<std::vec::IntoIter<Token<'a>>>);

impl<'a> Rest<'a> {
    fn word(&mut self, expected: &str) -> Result<Word<'a>, String> {
        match self.0.next() {
            Some(Token::Word(word)) => Ok(word),
            Some(Token::Comma) | None => Err(expected.to_owned()),
        }
    }

    fn names(&mut self, of: Of, expected: &str, file: &Path, include: Include<'_>) -> Result<Names, String> {
        let mut names = Names::default();
        loop {
            names.add(&self.word(expected)?, of, file, include, 0)?;
            if self.0.next_if(|token| matches!(token, Token::Comma)).is_none() {
                return Ok(names);
            }
        }
    }

    fn addresses(&mut self) -> Result<Addresses, String> {
        const ADDRESS: &str = "an address: all, ADDRESS/BITS, or an address and its mask";
        let word = self.word(ADDRESS)?;
        match &*word.text {
            "all" if !word.quoted => return Ok(Addresses::All),
            "samehost" | "samenet" if !word.quoted => return Err(format!("{ADDRESS}; {} is not supported", word.text)),
            _ => {}
        }
        let found = match word.text.split_once('/') {
            Some((address, bits)) => Addresses::parse(address, bits),
            None if word.text.parse::<IpAddr>().is_ok() => {
                let mask = self.word("the address's mask, or /BITS behind it")?;
                Addresses::parse(&word.text, &mask.text)
            }
            None => return Err(format!("{ADDRESS}; host names are not looked up")),
        };
        found.ok_or_else(|| ADDRESS.to_owned())
    }
}

fn rule(line: usize, text: &str, file: &Path, include: Include<'_>) -> Result<Rule, String> {
    let mut rest = Rest(tokens(text)?.into_iter().peekable());
    let kind = rest.word("a type: local, host, hostssl or hostnossl")?;
    let databases = rest.names(Of::Databases, "a database after the type, or after a comma", file, include)?;
    let users = rest.names(Of::Users, "a user after the databases, or after a comma", file, include)?;
    let kind = match &*kind.text {
        "local" => Kind::Local,
        "host" => Kind::Host(rest.addresses()?),
        "hostssl" => Kind::HostSsl(rest.addresses()?),
        "hostnossl" => Kind::HostNoSsl(rest.addresses()?),
        "hostgssenc" | "hostnogssenc" => return Err("a type without GSSAPI, which is not spoken here".to_owned()),
        "include" | "include_if_exists" | "include_dir" => {
            return Err("a type: local, host, hostssl or hostnossl; files of rules are not included".to_owned());
        }
        _ => return Err("a type: local, host, hostssl or hostnossl".to_owned()),
    };
    let method = method(&rest.word(METHODS)?.text, &kind)?;
    let mut map = None;
    while let Some(token) = rest.0.next() {
        let Token::Word(word) = token else { return Err("no comma after the method".to_owned()) };
        map = Some(option(&word.text, method, &mut rest)?);
    }
    Ok(Rule { line, text: text.trim().into(), kind, databases, users, method, map })
}

const METHODS: &str = "a method: cert, md5, password, peer, reject, scram-sha-256 or trust";

fn method(word: &str, kind: &Kind) -> Result<Method, String> {
    let method = match word {
        "cert" if matches!(kind, Kind::Local | Kind::HostNoSsl(_)) => {
            return Err("cert on a host or hostssl line only: it needs TLS".to_owned());
        }
        "cert" => Method::Cert,
        "md5" => Method::Md5,
        "password" => Method::Password,
        "peer" if *kind != Kind::Local => return Err("peer on a local line only".to_owned()),
        "peer" => Method::Peer,
        "reject" => Method::Reject,
        "scram-sha-256" => Method::ScramSha256,
        "trust" => Method::Trust,
        "bsd" | "gss" | "ident" | "ldap" | "oauth" | "pam" | "radius" | "sspi" => {
            return Err(format!("{METHODS}; {word} is not supported"));
        }
        _ => return Err(METHODS.to_owned()),
    };
    Ok(method)
}

/// `map=NAME`, the name in quotes or not.
fn option(word: &str, method: Method, rest: &mut Rest<'_>) -> Result<Box<str>, String> {
    let Some(name) = word.strip_prefix("map=") else {
        let name = word.split('=').next().unwrap_or(word);
        return Err(format!("no option but map= after the method; {name:?} is not supported"));
    };
    if !matches!(method, Method::Cert | Method::Peer) {
        return Err("map= after cert and peer only".to_owned());
    }
    if !name.is_empty() {
        return Ok(name.into());
    }
    let quoted = rest.0.next_if(|token| matches!(token, Token::Word(word) if word.quoted));
    match quoted {
        Some(Token::Word(word)) => Ok(word.text.into()),
        _ => Err("the name of a map after map=".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/pgweir/hba.conf";

    fn files(path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("/etc/pgweir/admins") => Ok("root, \"all\"\n# nobody else\npostgres@\t dba # \n".to_owned()),
            Some("/etc/pgweir/more") => Ok("@admins\nextra".to_owned()),
            Some("/etc/pgweir/loop") => Ok("@loop".to_owned()),
            Some("/srv/dbs") => Ok("one\ntwo".to_owned()),
            _ => Err("no such file".to_owned()),
        }
    }

    fn rules(text: &str) -> Rules {
        Rules::parse(Path::new(FILE), text, &files).unwrap_or_else(|flaws| panic!("{flaws:?} in {text}"))
    }

    /// `unix`, or an address with `+` in front of it for TLS.
    fn from(text: &str) -> From {
        match text.strip_prefix('+') {
            _ if text == "unix" => From::Unix,
            Some(address) => From::Tcp { address: address.parse().unwrap(), tls: true },
            None => From::Tcp { address: text.parse().unwrap(), tls: false },
        }
    }

    /// Each case: where from, database, user, and the line that decides.
    /// In place of a database: all of them, for replication.
    const CLUSTER: &str = "=";

    fn decide(text: &str, cases: &[(&str, &str, &str, Option<usize>)]) {
        let rules = rules(text);
        for (place, database, user, line) in cases {
            let target = if *database == CLUSTER { Target::Cluster } else { Target::Database(database) };
            let found = rules.find(from(place), target, user).map(|rule| rule.line);
            assert_eq!(found, *line, "{place} {database} {user}");
        }
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        decide(
            concat!(
                "# comment\r\n",
                "local  all   root            peer map=staff\r\n",
                "\n",
                "local  db1, db2 ,\"all\" all   md5   # and a comment\n",
                "hostssl   all  ann,bob  10.0.0.0/8  scram-sha-256\n",
                "hostnossl all  ann      10.0.0.0/8  reject\n",
                "host   sameuser all  192.168.1.0 255.255.255.0 md5\n",
                "host   \"sameuser\" all 192.168.0.0/16 trust\n",
                "host   db1 @admins fd00::/8 password\n",
                "host   @/srv/dbs @more all cert map=\"my map\"\n",
                "host   db3 all fe80:: ffff:: trust\n",
                "host   replication all all trust\n",
            ),
            &[
                ("unix", "db9", "root", Some(2)),
                ("unix", "db1", "ann", Some(4)),
                ("unix", "db2", "ann", Some(4)),
                ("unix", "all", "ann", Some(4)),
                ("unix", "db3", "ann", None),
                ("+10.1.2.3", "x", "ann", Some(5)),
                ("+10.1.2.3", "x", "bob", Some(5)),
                ("+10.1.2.3", "x", "bo", None),
                ("+11.1.2.3", "x", "bob", None),
                ("10.1.2.3", "x", "ann", Some(6)),
                ("10.1.2.3", "x", "bob", None),
                ("+::ffff:10.1.2.3", "x", "bob", Some(5)),
                ("192.168.1.77", "carl", "carl", Some(7)),
                ("192.168.1.77", "carl", "dora", None),
                ("192.168.2.77", "carl", "carl", None),
                ("192.168.2.77", "sameuser", "carl", Some(8)),
                ("fd01::5", "db1", "root", Some(9)),
                ("fd01::5", "db1", "all", Some(9)),
                ("fd01::5", "db1", "postgres@", Some(9)),
                ("fd01::5", "db1", "nobody", None),
                ("fe01::5", "db1", "root", None),
                ("9.9.9.9", "two", "extra", Some(10)),
                ("9.9.9.9", "two", "dba", Some(10)),
                ("9.9.9.9", "three", "dba", None),
                ("fe80::1", "db3", "x", Some(11)),
                ("fe81::1", "db3", "x", None),
                ("1.2.3.4", "replication", "x", None),
                ("1.2.3.4", CLUSTER, "x", Some(12)),
                ("unix", CLUSTER, "root", None),
            ],
        );
    }

    #[test]
    fn methods_and_maps() {
        let rules = rules(concat!(
            "local a all peer\nlocal b all peer map=m\nhost c all 0.0.0.0/0 cert map=\"a b\"\n",
            "host d all ::/0 password\nhost e all all scram-sha-256\nhost f all all trust\nhost g all all reject\n",
        ));
        let methods: Vec<_> = rules.0.iter().map(|rule| rule.method).collect();
        use Method::{Cert, Password, Peer, Reject, ScramSha256, Trust};
        assert_eq!(methods, [Peer, Peer, Cert, Password, ScramSha256, Trust, Reject]);
        assert_eq!(rules.maps().collect::<Vec<_>>(), [(2, "m"), (3, "a b")]);
        assert!(Rules::default().find(From::Unix, Target::Database("a"), "b").is_none());
    }

    #[test]
    fn every_flawed_line_is_named() {
        let cases = [
            ("hots all all all md5", "a type"),
            ("hostgssenc all all all md5", "GSSAPI"),
            ("include more.conf", "a user after"),
            ("include_dir x y z", "not included"),
            ("host", "a database"),
            ("host all", "a user"),
            ("host all, all all md5", "host names"),
            ("host all all", "an address"),
            ("host all all all", "a method"),
            ("host all all md5", "host names"),
            ("host all all example.org md5", "host names"),
            ("host all all samenet md5", "samenet is not"),
            ("host all all 10.0.0.0/33 md5", "an address"),
            ("host all all 10.0.0.0/+8 md5", "an address"),
            ("host all all 10.0.0.0/ md5", "an address"),
            ("host all all 10.0.0.0 md5", "an address"),
            ("host all all 10.0.0.0", "mask"),
            ("host all all ::1 255.0.0.0 md5", "an address"),
            ("host all all all ldap ldapserver=x", "ldap is not supported"),
            ("host all all all gss", "gss is not supported"),
            ("host all all all pam", "pam is not supported"),
            ("host all all all md6", "a method"),
            ("host all all all peer", "local line"),
            ("local all all cert", "needs TLS"),
            ("hostnossl all all all cert", "needs TLS"),
            ("host all all all md5 map=x", "cert and peer"),
            ("local all all peer map=", "name of a map"),
            ("local all all peer clientcert=1", "\"clientcert\""),
            ("local all all peer , x", "no comma"),
            ("local samerole all md5", "members"),
            ("local all +admins md5", "members"),
            ("local all /^a md5", "regular"),
            ("local \"/^a\" all md5", "regular"),
            ("local all @nowhere md5", "readable file /etc/pgweir/nowhere: no such file"),
            ("local @loop all md5", "deep"),
            ("local \"all all md5", "closes"),
        ];
        let text = cases.map(|(line, _)| line).join("\n");
        let flaws = Rules::parse(Path::new(FILE), &text, &files).unwrap_err();
        for (index, (line, expected)) in cases.iter().enumerate() {
            let flaw = flaws.iter().find(|flaw| flaw.line == index + 1).unwrap_or_else(|| panic!("sound: {line}"));
            assert!(flaw.expected.contains(expected), "{line}: {flaw}");
        }
        assert_eq!(flaws.len(), cases.len());
    }

    proptest::proptest! {
        /// A file is read or refused; what was read decides about anybody.
        #[test]
        fn any_text_is_read_or_refused(text in "(host|local|hostssl)? ?(all|[a-z@\"+/,]{0,6}) ?(all|[0-9.:/]{0,12}) ?.{0,20}\n?.{0,30}") {
            if let Ok(rules) = Rules::parse(Path::new(FILE), &text, &files) {
                rules.find(From::Unix, Target::Database("a"), "b");
                rules.find(from("+10.0.0.1"), Target::Database("a"), "b");
            }
        }
    }
}
