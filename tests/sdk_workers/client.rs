// A worker on any Rust SDK since 0.23 that does what a script asks of it; see client.py.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use iii_sdk::channel::{ChannelReader, ChannelWriter};
use iii_sdk::helpers::extract_channel_refs;
use iii_sdk::protocol::{RegisterTriggerInput, TriggerAction, TriggerRequest};
use iii_sdk::runtime::WorkerMetadata;
use iii_sdk::trigger::{Trigger, TriggerConfig, TriggerHandler};
use iii_sdk::{register_worker, Error, IIIClient, InitOptions};
use iii_sdk::{RegisterFunction, RegisterTriggerType};
use serde_json::{json, Value};

type Shared<T> = Arc<Mutex<HashMap<String, T>>>;

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_string()
}

fn number(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap_or_default() as usize
}

fn unmarked(mut payload: Value) -> Value {
    if let Some(members) = payload.as_object_mut() {
        members.remove("_caller_worker_id");
    }
    payload
}

async fn call(
    worker: &IIIClient,
    function_id: String,
    payload: Value,
    action: Option<TriggerAction>,
) -> Result<Value, Error> {
    let timeout_ms = None;
    worker.trigger(TriggerRequest { function_id, payload, action, timeout_ms }).await
}

struct Bell {
    bells: Shared<String>,
}

#[async_trait::async_trait]
impl TriggerHandler for Bell {
    async fn register_trigger(&self, config: TriggerConfig) -> Result<(), Error> {
        if number(&config.config, "volume") > 10 {
            return Err(Error::Handler("too loud".to_string()));
        }
        self.bells.lock().unwrap().insert(config.id, config.function_id);
        Ok(())
    }

    async fn unregister_trigger(&self, config: TriggerConfig) -> Result<(), Error> {
        self.bells.lock().unwrap().remove(&config.id);
        Ok(())
    }
}

struct Client {
    name: String,
    worker: IIIClient,
    bindings: Shared<Trigger>,
    bells: Shared<String>,
}

impl Client {
    async fn call(&self, id: String, payload: Value) -> Result<Value, Error> {
        call(&self.worker, id, payload, None).await
    }

    fn channel(&self, payload: &Value, direction: &str) -> iii_sdk::channel::StreamChannelRef {
        let refs = extract_channel_refs(payload);
        refs.into_iter().find(|(path, _)| path.ends_with(direction)).expect("no channel").1
    }

    async fn run(&self, function: &str, payload: Value) -> Result<Value, Error> {
        let name = &self.name;
        match function {
            "fail" => Err(Error::Handler("no luck".to_string())),
            "size" => Ok(json!({"size": text(&payload, "text").len()})),
            "big" => Ok(json!({"text": "x".repeat(number(&payload, "size"))})),
            "ask" => {
                let id = text(&payload, "function_id");
                Ok(match self.call(id, payload["payload"].clone()).await {
                    Ok(result) => json!({"result": result}),
                    Err(Error::Remote { code, message, .. }) => {
                        json!({"code": code, "message": message})
                    }
                    Err(error) => json!({"code": "?", "message": error.to_string()}),
                })
            }
            "fire" => {
                let id = text(&payload, "function_id");
                let void = Some(TriggerAction::Void);
                call(&self.worker, id, payload["payload"].clone(), void).await?;
                Ok(Value::Null)
            }
            "enqueue" => {
                let id = text(&payload, "function_id");
                let action = Some(TriggerAction::Enqueue { queue: text(&payload, "queue") });
                call(&self.worker, id, payload["payload"].clone(), action).await
            }
            "bind" => {
                let kind = text(&payload, "kind");
                let trigger = self.worker.register_trigger(RegisterTriggerInput::new(
                    text(&payload, "type"),
                    format!("{name}::on_{kind}"),
                    payload["config"].clone(),
                ))?;
                self.bindings.lock().unwrap().insert(kind, trigger);
                Ok(Value::Null)
            }
            "unbind" => {
                let trigger = self.bindings.lock().unwrap().remove(&text(&payload, "kind"));
                trigger.expect("not bound").unregister();
                Ok(Value::Null)
            }
            "write" => {
                let (pieces, bytes) = (number(&payload, "pieces"), number(&payload, "bytes"));
                let writer = self.channel(&payload, "writer");
                let writer = ChannelWriter::new(self.worker.address(), &writer);
                for piece in 0..pieces {
                    writer.write(&vec![(piece % 256) as u8; bytes]).await?;
                }
                writer.close().await?;
                Ok(json!({"written": pieces * bytes}))
            }
            "read" => {
                let reader = self.channel(&payload, "reader");
                let reader = ChannelReader::new(self.worker.address(), &reader);
                Ok(json!({"read": reader.read_all().await?.len()}))
            }
            "relay" => {
                let create = "engine::channels::create".to_string();
                let refs = self.call(create, json!({})).await?;
                let mut request = unmarked(payload);
                request["writer"] = refs["writer"].clone();
                let void = Some(TriggerAction::Void);
                call(&self.worker, "script::write".to_string(), request, void).await?;
                let nested = json!({"nested": [{"reader": refs["reader"]}]});
                self.call(format!("{name}::read"), nested).await
            }
            "ring" => {
                let bound: Vec<String> = self.bells.lock().unwrap().values().cloned().collect();
                let mut answers = Vec::new();
                for function_id in bound {
                    answers.push(self.call(function_id, unmarked(payload.clone())).await?);
                }
                Ok(Value::Array(answers))
            }
            _ => match function.strip_prefix("on_") {
                Some(kind) => {
                    let fired = json!({"client": name, "kind": kind});
                    self.call("script::fired".to_string(), fired).await?;
                    Ok(json!({"status_code": 200, "body": {"from": name}}))
                }
                None => Ok(json!({"from": name, "payload": unmarked(payload)})),
            },
        }
    }
}

fn offer(client: &Arc<Client>, id: String, function: String) {
    let me = client.clone();
    let handler = move |payload: Value| -> std::pin::Pin<
        Box<dyn Future<Output = Result<Value, Error>> + Send>,
    > {
        let (me, function) = (me.clone(), function.clone());
        Box::pin(async move { me.run(&function, payload).await })
    };
    client.worker.register_function(id, RegisterFunction::new_async(handler));
}

#[tokio::main]
async fn main() {
    let name = std::env::var("CLIENT").expect("CLIENT");
    let url = std::env::var("III_URL").expect("III_URL");
    let kinds = std::env::var("CLIENT_KINDS").unwrap_or_else(|_| "http".to_string());
    let metadata = Some(WorkerMetadata { name: name.clone(), ..Default::default() });
    let worker = register_worker(&url, InitOptions { metadata, ..Default::default() });
    let bells: Shared<String> = Default::default();
    let bell = Bell { bells: bells.clone() };
    let client = Client { name: name.clone(), worker, bindings: Default::default(), bells };
    let client = Arc::new(client);
    client.worker.register_trigger_type(RegisterTriggerType::new(
        format!("{name}-bell"),
        "A bell.",
        bell,
    ));
    let functions = "echo fail size big ask fire enqueue bind unbind write read relay ring";
    for function in functions.split(' ') {
        offer(&client, format!("{name}::{function}"), function.to_string());
    }
    for kind in kinds.split(',') {
        offer(&client, format!("{name}::on_{kind}"), format!("on_{kind}"));
    }
    offer(&client, "script::taken".to_string(), "echo".to_string());
    offer(&client, format!("{name}::ready"), "echo".to_string());
    std::future::pending::<()>().await;
}
