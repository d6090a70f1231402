//! A longer run in which something fails all the time: `scripts/soak`.
//!
//! `FACTLINE_SOAK_SECONDS` says for how long, `FACTLINE_SEED` which run, and `FACTLINE_SOAK_FAULTS` what may happen, of
//! the names in [`FAULTS`].

use std::{env, os::unix::process::ExitStatusExt as _, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    load::Load,
    random::Random,
    scene::{BRISK, settled, stage_on},
};
use crate::{
    daemon::stage::{Daemon, Stage},
    servers::{Postgres, Redis},
};

const DAEMONS: u32 = 3;

/// Each writes several dozen conversations.
const WRITERS: u32 = 8;

/// What happens unless something else is asked for. `flushall` may also be.
const FAULTS: &str = "kill,term,stop,redis-stop,redis-kill,postgres-stop,postgres-kill,terminate,flushall";

/// Longer than a lease of [`BRISK`] lasts.
const PAST_THE_LEASE: Duration = Duration::from_secs(1);

struct Soak {
    postgres: Postgres,
    redis: Redis,
    stage: Stage,
    daemons: Vec<Daemon>,
    random: Random,
}

impl Soak {
    fn start_one(&mut self) {
        self.daemons.push(self.stage.start_with(&["run"], BRISK));
    }

    fn take_one(&mut self) -> Daemon {
        let count = u32::try_from(self.daemons.len()).unwrap();
        self.daemons.swap_remove(usize::try_from(self.random.of(0..count)).unwrap())
    }

    async fn for_a_moment(&mut self) {
        sleep(Duration::from_millis(self.random.of(10..1500).into())).await;
    }

    async fn cause(&mut self, fault: &str) {
        match fault {
            "kill" => {
                self.take_one().kill().await;
                self.start_one();
            }
            "term" => {
                let ended = self.take_one().stop().await;
                // One that has only just been started may not hear it yet, and ends as by a kill.
                assert!(ended.success() || ended.signal() == Some(15), "{ended}");
                self.start_one();
            }
            "stop" => {
                let daemon = self.take_one();
                daemon.signal("STOP");
                sleep(PAST_THE_LEASE).await;
                daemon.signal("CONT");
                self.daemons.push(daemon);
            }
            "redis-stop" | "redis-kill" => {
                if fault == "redis-kill" {
                    self.redis.kill();
                } else {
                    self.redis.stop();
                }
                self.for_a_moment().await;
                self.redis.start();
            }
            "postgres-stop" | "postgres-kill" => {
                if fault == "postgres-kill" {
                    self.postgres.kill();
                } else {
                    self.postgres.stop();
                }
                self.for_a_moment().await;
                self.postgres.start();
            }
            "terminate" => {
                let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                                 WHERE application_name = 'factline'";
                sqlx::raw_sql(terminate).execute(&self.stage.pool).await.ok();
            }
            "flushall" => self.redis.flush_all(),
            other => panic!("no such fault: {other:?}; there are {FAULTS}"),
        }
    }
}

#[tokio::test]
#[ignore = "as long as it is told to: scripts/soak"]
async fn soak() {
    let setting = |name: &str| env::var(name).ok();
    let seconds = setting("FACTLINE_SOAK_SECONDS").map_or(20, |seconds| seconds.parse().unwrap());
    let faults = setting("FACTLINE_SOAK_FAULTS").unwrap_or_else(|| FAULTS.to_owned());
    let faults: Vec<&str> = faults.split(',').collect();
    let (random, seed) = Random::seeded();
    println!("seed={seed}");
    let (postgres, redis) = (Postgres::start_own(), Redis::start_own());
    let stage = stage_on(&postgres, &redis).await;
    let mut soak = Soak { postgres, redis, stage, daemons: Vec::new(), random };
    for _ in 0..DAEMONS {
        soak.start_one();
    }
    let writers: Vec<Load> = (0..WRITERS).map(|writer| Load::of_writer(&soak.stage, writer)).collect();
    let over = Instant::now() + Duration::from_secs(seconds);
    let mut caused = 0;
    while Instant::now() < over {
        soak.for_a_moment().await;
        let fault = faults[usize::try_from(soak.random.of(0..u32::try_from(faults.len()).unwrap())).unwrap()];
        println!("{fault}");
        soak.cause(fault).await;
        caused += 1;
    }
    for writer in writers {
        writer.end().await;
    }
    settled(&soak.stage).await;
    let events = soak.stage.recorded().await;
    let (_, verified) = soak.stage.verify().await;
    println!("seed={seed} events={events} faults={caused} {verified}");
    while let Some(daemon) = soak.daemons.pop() {
        assert!(daemon.stop().await.success());
    }
}
