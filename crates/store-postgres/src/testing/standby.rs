//! A standby of a server of one's own: copied with `pg_basebackup`, following by streaming, waited
//! for at each commit, promoted when the first one is gone.

use std::{fs, thread};

use super::{
    NoServer, Own, PAUSE, PAUSES, Server, as_server, failed, free_port, hand_over, launch,
    not_ours, watch,
};

impl Server {
    /// A standby that this server waits for at each commit from here on.
    ///
    /// # Errors
    /// When it cannot be copied, or does not follow.
    pub async fn standby(&self) -> Result<Self, NoServer> {
        let own = self.own.as_ref().ok_or_else(not_ours)?;
        let directory = tempfile::Builder::new()
            .prefix("counterfoil-pg-standby-")
            .tempdir()
            .map_err(|error| failed("temporary directory", error))?
            .keep();
        let watchdog = watch(&directory)?;
        hand_over(&directory)?;
        // Beside the real initdb; the one that was found may be a link.
        let real = fs::canonicalize(own.binaries.join("initdb")).unwrap_or_default();
        let beside = real.parent().map(|place| place.join("pg_basebackup"));
        let tool = beside.filter(|tool| tool.exists()).unwrap_or_else(|| "pg_basebackup".into());
        let output = as_server(tool)?
            .args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream", "-c", "fast"])
            .args(["--no-sync", "-p", &own.port.to_string(), "-D"])
            .arg(directory.join("data"))
            .current_dir(&directory)
            .output()
            .map_err(|error| failed("pg_basebackup", error))?;
        if !output.status.success() {
            return Err(failed("pg_basebackup", String::from_utf8_lossy(&output.stderr)));
        }
        let (binaries, settings) = (own.binaries.clone(), own.settings.clone());
        let port = free_port()?;
        let process = launch(&binaries, &directory, port, &settings)?;
        let base = format!("postgres://postgres@127.0.0.1:{port}");
        let own = Own { binaries, directory, port, settings, process, _watchdog: watchdog };
        self.admin("ALTER SYSTEM SET synchronous_standby_names = '*'".to_owned()).await?;
        self.admin("SELECT pg_reload_conf()".to_owned()).await?;
        for _ in 0..PAUSES {
            // Division by zero while nobody follows: the answer of `admin` is whether it went well.
            let follows = "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            if self.admin(follows.to_owned()).await.is_ok() {
                return Ok(Self { base, own: Some(own) });
            }
            thread::sleep(PAUSE);
        }
        Err(NoServer("the standby does not follow".to_owned()))
    }

    /// Makes a standby the server to be written to.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn promote(&self) -> Result<(), NoServer> {
        self.admin("SELECT 1 / pg_promote(true, 60)::int".to_owned()).await
    }
}
