//! A Redis Cluster.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{CLIENT, PATIENCE, Redis};
use crate::Trouble;
use crate::patience::Patience;
use crate::postgres::free_port;

/// Masters without replicas, which share the slots; stopped when dropped.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three masters with these lines added to their configurations, and
    /// makes a cluster of them.
    ///
    /// # Errors
    /// Why there is no Redis to be had, or what it said.
    pub fn start(settings: &[&str]) -> Result<Self, Trouble> {
        let node = || {
            // Not 10000 above the port, where there may be none.
            let bus = free_port().map_err(|error| format!("start Redis: {error}"))?;
            let bus = format!("cluster-port {bus}");
            let mut lines = vec!["cluster-enabled yes", "cluster-node-timeout 2000", &bus];
            lines.extend(settings);
            Redis::start(&lines)
        };
        let cluster = Self { nodes: vec![node()?, node()?, node()?] };
        let mut cli = Command::new(CLIENT);
        cli.args(["--cluster", "create"])
            .args(cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())))
            .args(["--cluster-yes"])
            .stdin(Stdio::null());
        let output = cli.output().map_err(|error| format!("redis-cli: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            return Err(format!("make a cluster: {said}").into());
        }
        let mut patience = Patience::of(PATIENCE);
        while !cluster.is_whole() {
            if patience.is_over() {
                return Err("the cluster does not come about".to_owned().into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(cluster)
    }

    /// The URL of the cluster, by one of its nodes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}?cluster=true", self.nodes[0].url())
    }

    /// Whether every node knows that each slot is somebody's.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let whole = |node: &Redis| {
            node.try_cli(&["CLUSTER", "INFO"]).is_ok_and(|info| info.contains("cluster_state:ok"))
        };
        self.nodes.iter().all(whole)
    }
}
