//! Calls counted in Redis (or Valkey), for several processes that share a limit. The server's clock
//! decides, so that theirs need not agree.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Script, aio::ConnectionManager};

use super::{Decision, LimitError, Limiter, Rate};

/// How long Redis may take before it counts as away.
const PATIENCE: Duration = Duration::from_millis(250);

/// The algorithm of [`Rate::decide`] with the server's clock.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])
local room = cost * tonumber(ARGV[2])
local till = tonumber(redis.call('GET', KEYS[1]) or now)
if till < now or till > now + room then till = now end
local after = till + cost
local wait = after - now - room
local allowed = 0
if wait <= 0 then
  allowed = 1
  till = after
  redis.call('SET', KEYS[1], string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 1)
end
return {allowed, string.format('%.0f', till), string.format('%.0f', now)}
";

/// Counts in Redis.
pub struct InRedis {
    connection: ConnectionManager,
    script: Script,
}

impl InRedis {
    /// Connects to `redis://…`.
    ///
    /// # Errors
    /// When the URL makes no sense or the server does not answer.
    pub async fn connect(url: &str) -> Result<Self, LimitError> {
        let failed = |error: redis::RedisError| LimitError(error.to_string());
        let client = redis::Client::open(url).map_err(failed)?;
        let connection =
            tokio::time::timeout(Duration::from_secs(5), client.get_connection_manager())
                .await
                .map_err(|_| LimitError("the server does not answer".to_owned()))?
                .map_err(failed)?;
        Ok(Self { connection, script: Script::new(SCRIPT) })
    }
}

#[async_trait]
impl Limiter for InRedis {
    async fn decide(&self, key: &str, rate: &Rate, _: i64) -> Result<Decision, LimitError> {
        let mut connection = self.connection.clone();
        let name = format!("counterfoil:rate:{key}");
        let mut call = self.script.prepare_invoke();
        call.key(name).arg(rate.cost()).arg(rate.burst);
        let asked = call.invoke_async::<(i64, i64, i64)>(&mut connection);
        let (allowed, until, now) = tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| LimitError("the server does not answer".to_owned()))?
            .map_err(|error| LimitError(error.to_string()))?;
        let accounted = until.saturating_sub(now);
        let room = rate.cost().saturating_mul(i64::from(rate.burst));
        let left = room.saturating_sub(accounted) / rate.cost();
        let wait = accounted.saturating_add(rate.cost()).saturating_sub(room);
        Ok(Decision {
            allowed: allowed == 1,
            until,
            remaining: u32::try_from(left.max(0)).unwrap_or(u32::MAX),
            retry_after: if allowed == 1 { 0 } else { wait.max(0) },
            reset_after: accounted,
        })
    }
}
