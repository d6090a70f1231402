//! `factline doctor` finds what is wrong with the servers themselves.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{
    doctor::{doctor, found_while, redis, with_arguments},
    stage::{Stage, until},
};
use crate::{
    faults::clock::an_hour_ago,
    servers::{Postgres, Proxy, Redis},
};

/// A stage on a PostgreSQL of its own, with settings.
async fn stage_on_own_postgres(settings: &'static [&'static str]) -> (Stage, Postgres) {
    let start = move || {
        let server = Postgres::start_own_with(settings);
        let database = server.database();
        (server, database)
    };
    let (server, database) = tokio::task::spawn_blocking(start).await.unwrap();
    let redis = Redis::shared();
    let stage = Stage::on(&database, &redis.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    (stage, server)
}

async fn stage_on_own_redis(options: &'static [&'static str]) -> (Stage, Redis) {
    let redis = tokio::task::spawn_blocking(move || Redis::start_own_with(options)).await.unwrap();
    let database = Postgres::shared().database();
    let stage = Stage::on(&database, &redis.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    (stage, redis)
}

const AT_ONCE: [&str; 4] = ["--watch", "100ms", "--old-transaction", "0s"];

#[tokio::test]
async fn a_transaction_that_keeps_dead_rows_and_the_command_that_ends_it() {
    let stage = Stage::new().await;
    assert!(doctor(&stage, &[]).await.complaints("transactions").is_empty());
    let mut idle =
        PgConnection::connect(&format!("{}?application_name=forgotten", stage.direct)).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut idle).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut idle).await.unwrap();
    assert!(doctor(&stage, &[]).await.complaints("transactions").is_empty(), "five minutes are not over");
    let found = with_arguments(&stage, &AT_ONCE, &[]).await;
    let next = format!("SELECT pg_terminate_backend({pid})");
    let words = [pid.to_string(), "forgotten".into(), "idle in transaction".into()];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let finding = found.assert_finds("transactions", "warning", &words, &next);
    assert!(finding["data"]["age_seconds"].as_f64().unwrap() > 0.0, "{finding}");
    stage.execute(next).await;
    assert!(with_arguments(&stage, &AT_ONCE, &[]).await.complaints("transactions").is_empty());
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_can_be_known() {
    let stage = Stage::new().await;
    let role = super::stage::unique("reader").replace('-', "_");
    stage
        .execute(format!("CREATE ROLE {role} LOGIN; GRANT pg_read_all_data, pg_write_all_data TO {role}"))
        .await;
    let url = stage.direct.replace("postgres@", &format!("{role}@"));
    let mut idle = PgConnection::connect(&stage.direct).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut idle).await.unwrap();
    let found = with_arguments(&stage, &AT_ONCE, &[("DATABASE_URL", &url)]).await;
    assert!(found.complaints("reach").is_empty() && found.complaints("connections").is_empty());
    // Other users' transactions are nothing that such a user may see.
    assert!(found.complaints("transactions").is_empty());
    stage.execute(format!("GRANT pg_read_all_stats TO {role}")).await;
    let found = with_arguments(&stage, &AT_ONCE, &[("DATABASE_URL", &url)]).await;
    found.assert_finds("transactions", "warning", &["idle in transaction"], "SELECT pg_terminate_backend(");
    stage.execute(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn connections_near_the_limit_and_a_prepared_transaction() {
    let settings = &["max_connections=20", "max_prepared_transactions=2", "superuser_reserved_connections=3"];
    let (stage, _server) = stage_on_own_postgres(settings).await;
    assert!(doctor(&stage, &[]).await.complaints("connections").is_empty());
    let mut crowd = Vec::new();
    for _ in 0..14 {
        crowd.push(PgConnection::connect(&stage.direct).await.unwrap());
    }
    let prepare = "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'it''s mine'";
    sqlx::raw_sql(prepare).execute(&mut crowd[0]).await.unwrap();
    let found = with_arguments(&stage, &AT_ONCE, &[]).await;
    found.assert_finds("connections", "warning", &["of 17 connections"], "SELECT ");
    let next = "ROLLBACK PREPARED 'it''s mine'";
    found.assert_finds("transactions", "warning", &["prepared transaction it's mine"], next);
    drop(crowd);
    sqlx::raw_sql(AssertSqlSafe(next)).execute(&stage.pool).await.unwrap();
    let found = with_arguments(&stage, &AT_ONCE, &[]).await;
    assert!(found.complaints("transactions").is_empty());
}

/// A standby that is gone: it has told what it still reads, and its slot remembers.
fn leave_a_slot(url: &str, slot: &str, from: &str, oldest: u32) -> std::io::Result<TcpStream> {
    let url = url::Url::parse(url).unwrap();
    let mut server = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap()))?;
    let startup = b"\0\x03\0\0user\0postgres\0replication\0true\0\0";
    server.write_all(&with_length(startup))?;
    read_until(&mut server, b'Z')?;
    let start = format!("START_REPLICATION SLOT {slot} PHYSICAL {from}\0");
    server.write_all(&[b"Q", &with_length(start.as_bytes())[..]].concat())?;
    read_until(&mut server, b'W')?;
    // Hot standby feedback: the time, the oldest transaction and its epoch, and those of the catalogs.
    let feedback = [b"h".as_slice(), &[0; 8], &oldest.to_be_bytes(), &[0; 12]].concat();
    server.write_all(&[b"d", &with_length(&feedback)[..]].concat())?;
    Ok(server)
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// Reads messages until one of this kind.
fn read_until(server: &mut TcpStream, wanted: u8) -> std::io::Result<()> {
    loop {
        let mut head = [0; 5];
        server.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) - 4;
        let mut body = vec![0; usize::try_from(length).unwrap()];
        server.read_exact(&mut body)?;
        assert_ne!(head[0], b'E', "{}", String::from_utf8_lossy(&body));
        if head[0] == wanted {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_replication_slot_that_nobody_uses_any_more() {
    let (stage, _server) = stage_on_own_postgres(&[]).await;
    stage.execute("SELECT pg_create_physical_replication_slot('forgotten')").await;
    let place = "SELECT pg_current_wal_lsn()::text";
    let place: String = sqlx::query_scalar(place).fetch_one(&stage.pool).await.unwrap();
    let oldest = stage.count("SELECT pg_current_xact_id()::text::bigint").await;
    let url = stage.direct.clone();
    let leave = move || leave_a_slot(&url, "forgotten", &place, u32::try_from(oldest).unwrap()).unwrap();
    let standby = tokio::task::spawn_blocking(leave).await.unwrap();
    let slots = |is: &str| format!("SELECT count(*) FROM pg_replication_slots WHERE {is}");
    until("it has told", || async { stage.count(slots("xmin IS NOT NULL")).await == 1 }).await;
    drop(standby);
    until("it is gone", || async { stage.count(slots("NOT active")).await == 1 }).await;
    stage.execute("SELECT pg_current_xact_id()").await;
    let found = with_arguments(&stage, &AT_ONCE, &[]).await;
    let next = "SELECT pg_drop_replication_slot('forgotten')";
    found.assert_finds("transactions", "warning", &["replication slot forgotten", "inactive"], next);
    assert!(doctor(&stage, &[]).await.complaints("transactions").is_empty(), "they are few transactions");
    stage.execute(next).await;
    assert!(with_arguments(&stage, &AT_ONCE, &[]).await.complaints("transactions").is_empty());
}

#[tokio::test]
async fn servers_behind_a_slow_network_can_be_looked_at() {
    let stage = Stage::new().await;
    let (postgres, redis) = (Proxy::before(&stage.direct).await, Proxy::before(&stage.redis).await);
    let (slow_postgres, slow_redis) = (postgres.of(&stage.direct), redis.of(&stage.redis));
    let environment = [("DATABASE_URL", slow_postgres.as_str()), ("REDIS_URL", slow_redis.as_str())];
    postgres.delay(Duration::from_millis(60));
    redis.delay(Duration::from_millis(60));
    let began = Instant::now();
    let found = doctor(&stage, &environment).await;
    assert!(found.complaints("reach").is_empty(), "{:?}", found.complaints("reach"));
    assert!(began.elapsed() > Duration::from_secs(2), "it was not slow at all");
}

#[tokio::test]
async fn migrations_that_are_missing_or_ahead() {
    let stage = Stage::unmigrated().await;
    let found = doctor(&stage, &[]).await;
    assert_eq!(found.complaints("reach").len(), 2, "neither outbox nor store");
    let missing = found.complaints("migrations");
    assert_eq!(missing.len(), 2);
    assert!(missing.iter().all(|finding| finding["next"] == "factline migrate up"), "{missing:?}");
    assert!(stage.run(&["migrate", "up"]).status.success());
    assert!(doctor(&stage, &[]).await.complaints("migrations").is_empty());
    stage
        .execute(
            "INSERT INTO factline.migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', true, '', 0)",
        )
        .await;
    let found = doctor(&stage, &[]).await;
    found.assert_finds("migrations", "warning", &["store", "9999", "newer version"], "factline --version");
}

#[tokio::test]
async fn a_clock_that_is_an_hour_behind() {
    let an_hour_ago = an_hour_ago();
    let stage = Stage::new().await;
    let found = doctor(&stage, &an_hour_ago).await;
    let clocks = found.complaints("clocks");
    assert_eq!(clocks.len(), 3, "outbox, store and streams");
    for clock in clocks {
        let ahead = clock["data"]["ahead_ms"].as_i64().unwrap();
        assert!((ahead - 3_600_000).abs() < 60_000 && clock["severity"] == "problem", "{clock}");
    }
    assert!(doctor(&stage, &[]).await.complaints("clocks").is_empty());
}

#[tokio::test]
async fn a_redis_that_is_full_or_throws_streams_away() {
    let (stage, server) = stage_on_own_redis(&[]).await;
    let found = doctor(&stage, &[]).await; // the streams are made meanwhile
    assert!(found.complaints("redis_memory").is_empty() && found.complaints("redis_persistence").is_empty());
    server.configure("maxmemory", "1");
    // Nothing can be written, and nothing has to be: whoever starts or looks finds what is there.
    let found = doctor(&stage, &[]).await;
    found.assert_finds("redis_memory", "problem", &["KiB"], "redis-cli CONFIG SET maxmemory");
    assert!(found.complaints("reach").is_empty() && found.complaints("redis_eviction").is_empty());
    assert_eq!(stage.status().await["wrong"].as_array().unwrap().len(), 0);
    assert!(stage.run(&["verify"]).status.success());

    // Nor does a daemon that starts; what it cannot append is refused in a few words.
    stage.insert_messages(1000, 10).await;
    let daemon = stage.start(&["run"]);
    daemon.until_logged("command not allowed when used memory").await;
    daemon.until_logged("factline is running").await;
    let log = daemon.log();
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest < 1000, "{longest}: {log}");
    assert!(daemon.stop().await.success());

    server.configure("maxmemory", "100mb");
    server.configure("maxmemory-policy", "allkeys-lru");
    let found = doctor(&stage, &[]).await;
    let next = "redis-cli CONFIG SET maxmemory-policy noeviction";
    found.assert_finds("redis_eviction", "problem", &["allkeys-lru"], next);

    // What it throws away while it is looked at is a finding; what it threw away before is a figure. Only keys that
    // expire are in its way here: the streams stay.
    server.configure("maxmemory-policy", "volatile-ttl");
    let evict = async || {
        redis(&stage, &["SET", "in-the-way", "1", "EX", "1000"]).await;
        redis(&stage, &["CONFIG", "SET", "maxmemory", "1"]).await;
        redis(&stage, &["CONFIG", "SET", "maxmemory", "100mb"]).await;
    };
    let is_thrown_away = |finding: &&serde_json::Value| {
        let sentence = finding["sentence"].as_str().unwrap();
        sentence.contains("has thrown away") && finding["next"] == "factline reconcile --dry-run"
    };
    until("it is seen to throw keys away", || async {
        let found = found_while(doctor(&stage, &[]), &evict).await;
        found.complaints("redis_eviction").iter().any(is_thrown_away)
    })
    .await;
    server.configure("maxmemory-policy", "noeviction");
    assert!(doctor(&stage, &[]).await.complaints("redis_eviction").is_empty());
}

#[tokio::test]
async fn a_redis_that_keeps_nothing_or_snapshots_alone_or_does_not_say() {
    let (stage, server) = stage_on_own_redis(&["--appendonly", "no"]).await;
    let found = doctor(&stage, &[]).await;
    let next = "redis-cli CONFIG SET appendonly yes";
    found.assert_finds("redis_persistence", "warning", &["keeps nothing"], next);
    redis(&stage, &["CONFIG", "SET", "save", "3600 1"]).await;
    let found = doctor(&stage, &[]).await;
    found.assert_finds("redis_persistence", "warning", &["snapshots alone"], next);
    // As those who host Redis have it.
    redis(&stage, &["ACL", "SETUSER", "guest", "on", "nopass", "~*", "&*", "+@all", "-config"]).await;
    let url = server.url().replace("redis://", "redis://guest:any@");
    let found = doctor(&stage, &[("REDIS_URL", &url)]).await;
    found.assert_finds("redis_persistence", "warning", &["does not say"], "");
}

#[tokio::test]
async fn servers_that_are_away_say_why() {
    let (stage, server) = stage_on_own_postgres(&[]).await;
    let missing = stage.direct.replace("/test_0", "/nowhere");
    assert_ne!(missing, stage.direct);
    let found = doctor(&stage, &[("DATABASE_URL", &missing)]).await;
    let reasons = found.complaints("reach");
    assert!(
        reasons.iter().all(|one| one["sentence"].as_str().unwrap().contains("\"nowhere\" does not exist"))
    );
    assert_eq!(reasons.len(), 2);
    server.stop();
    let found = doctor(&stage, &[]).await;
    let reasons = found.complaints("reach");
    assert!(reasons.iter().all(|one| one["sentence"].as_str().unwrap().contains("refused")), "{reasons:?}");
    assert_eq!((reasons.len(), found.code), (2, 3));
    assert!(found.complaints("redis_memory").is_empty(), "Redis was looked at");
}
