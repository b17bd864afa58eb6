//! [pure] Whether the process should be sent new clients.
//!
//! It is ready once it takes clients and every `servers` list that is asked has been looked at, and while at least one of
//! them, if there are any, has a primary. One cluster that has lost its primary does not take the proxy away from the
//! others, and during a failover of the only one new clients are better sent to another proxy that may see more.
//! PAUSE is the operator's wish and changes nothing here: clients may come, and wait.

use crate::stats::snapshot::Cluster;

/// Ready, or the reason why not.
pub fn judge(running: bool, clusters: &[Cluster]) -> Result<(), String> {
    if !running {
        return Err("shutting down".to_owned());
    }
    let mut asked = clusters.iter().filter(|cluster| cluster.is_probed).peekable();
    if asked.peek().is_none() {
        return Ok(());
    }
    let has = |role: fn(&str) -> bool| move |cluster: &&Cluster| cluster.nodes.iter().any(|node| role(node.role));
    if let Some(unknown) =
        clusters.iter().filter(|cluster| cluster.is_probed).find(|c| !has(|role| role != "unknown")(c))
    {
        return Err(format!("the servers of {} were not asked yet", unknown.name()));
    }
    match asked.any(|cluster| has(|role| role == "primary")(&cluster)) {
        true => Ok(()),
        false => Err("no server is known to be a primary".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::snapshot::Node;

    fn cluster(is_probed: bool, roles: &[&'static str]) -> Cluster {
        let nodes = roles.iter().map(|role| Node { role, ..Node::default() }).collect();
        Cluster { databases: vec!["shop".to_owned()], nodes, failovers: 0, is_probed }
    }

    #[test]
    fn one_primary_is_enough_once_all_were_asked() {
        assert_eq!(judge(true, &[]), Ok(()));
        assert!(judge(false, &[]).is_err());
        assert_eq!(judge(true, &[cluster(true, &["standby", "primary"]), cluster(true, &["down"])]), Ok(()));
        assert!(judge(true, &[cluster(true, &["primary"]), cluster(true, &["unknown"])]).is_err());
        assert!(judge(true, &[cluster(true, &["standby", "down"])]).is_err());
        assert_eq!(judge(true, &[cluster(false, &["unknown"])]), Ok(()), "its roles show at the first login");
    }
}
