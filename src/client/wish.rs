//! What a client's startup packet asks for.

use super::House;
use crate::error::{Error, Kind, Side};
use crate::net::ends::Ends;
use crate::session::settings::{self, Settings};
use crate::session::wishes::Wishes;
use crate::wire::startup::{self, Replication};

pub(super) struct Wish {
    pub user: String,
    pub database: String,
    /// Settings of the session: startup parameters and `options`.
    pub settings: Settings,
    /// `pgweir.*`: they concern the proxy, and no server.
    pub wishes: Wishes,
    pub version: u32,
    pub replication: Option<Box<Dedicated>>,
}

/// A replication connection, and everything else that its client said: it goes to the server as it is.
pub(super) struct Dedicated {
    pub replication: Replication,
    pub parameters: Vec<(String, String)>,
}

impl Wish {
    /// The parameters of a startup packet. Whatever is not ours to understand is a setting of the session.
    pub fn parse(house: &House, packet: &startup::Startup<'_>) -> Result<Wish, Error> {
        let ground = house.backends.ground();
        let ignored = |name: &str| ground.config.global.ignore_startup_parameters.iter().any(|known| known == name);
        let (mut user, mut database) = (String::new(), String::new());
        let (mut wanted, mut wishes) = (Settings::default(), Wishes::default());
        let mut replication = None;
        for (name, value) in packet.parameters() {
            let text =
                |bytes| std::str::from_utf8(bytes).map_err(|_| Error::protocol("a startup parameter is not UTF-8"));
            let (name, value) = (text(name)?, text(value)?);
            match name {
                "user" => value.clone_into(&mut user),
                "database" => value.clone_into(&mut database),
                "replication" => {
                    let read = Replication::parse(value);
                    replication = read.map_err(|_| Error::new(Kind::Replication, Side::Client).about(value))?;
                }
                _ if name.starts_with("_pq_.") || ignored(name) => {}
                "options" => {
                    let found = startup::options(value.as_bytes());
                    let found = found.map_err(|word| Error::new(Kind::StartupParameter, Side::Client).about(&word))?;
                    for (name, value) in found.iter().filter(|(name, _)| !ignored(name)) {
                        set(&mut wanted, &mut wishes, name, value)?;
                    }
                }
                // A parameter of its own wins over one in `options`, as it comes later in PostgreSQL too.
                _ => set(&mut wanted, &mut wishes, name, value)?,
            }
        }
        if user.is_empty() {
            return Err(Error::new(Kind::NoUser, Side::Client));
        }
        if database.is_empty() {
            database.clone_from(&user);
        }
        let replication = replication.map(|replication| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let all = packet.parameters().map(|(name, value)| (text(name), text(value)));
            let passed =
                |name: &str| !matches!(name, "user" | "database") && !name.starts_with("_pq_.") && !ignored(name);
            Box::new(Dedicated { replication, parameters: all.filter(|(name, _)| passed(name)).collect() })
        });
        if replication.is_some() {
            wanted = Settings::default();
        }
        Ok(Wish { user, database, settings: wanted, wishes, version: packet.spoken(), replication })
    }

    /// `application_name_add_host`: where the client comes from stands behind its application_name, in PgBouncer's form. Not
    /// behind a replication connection's: `synchronous_standby_names` knows it by that.
    pub fn add_host(&mut self, house: &House, ends: &Ends) {
        let global = &house.backends.ground().config.global;
        if !global.application_name_add_host || self.replication.is_some() {
            return;
        }
        let host = match ends {
            Ends::Tcp { from, .. } => from.to_string(),
            Ends::Unix { pid, .. } => format!("unix({}):{}", pid.unwrap_or_default(), global.listen_port),
        };
        let name = self.settings.get("application_name").filter(|name| !name.is_empty()).unwrap_or("app");
        let name = format!("{name} - {host}");
        self.settings.set("application_name", &name);
    }
}

/// A setting of the session, or one of ours.
fn set(wanted: &mut Settings, wishes: &mut Wishes, name: &str, value: &str) -> Result<(), Error> {
    let Some(own) = name.get(..7).filter(|prefix| prefix.eq_ignore_ascii_case("pgweir.")).and(name.get(7..)) else {
        wanted.set(name, settings::canonical(name, value));
        return Ok(());
    };
    let change = Wishes::change(own, value);
    wishes.apply(change.map_err(|expected| Error::new(Kind::StartupParameter, Side::Client).about(expected))?);
    Ok(())
}
