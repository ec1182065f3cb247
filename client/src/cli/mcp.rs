//! `jeton mcp`: tools for agents that are models, by the Model Context Protocol on standard input and
//! output (modelcontextprotocol.io, transport stdio).
//!
//! Invariant: no credential goes to the model. Every request is for the gateway, and results are made
//! of nothing but [`Told`]. Only the protocol is written to standard output.

mod arguments;
mod calls;
mod input;
mod told;
mod tools;

use std::{sync::Arc, time::Duration};

use jeton_client::Client;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig,
    },
    service::{RequestContext, ServerInitializeError},
    transport::{async_rw::AsyncRwTransport, stdio},
};
use tokio::sync::Semaphore;

use self::{
    input::{Ended, Input},
    told::Told,
    tools::Tool,
};
use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
};

/// Longest line that is read, in bytes. Why: a call is under 8 KiB; a client may say more of itself.
const LINE_BYTES: usize = 256 * 1024;
/// Calls at once. Why: each may wait for a person on a stream of the broker, which allows one caller 64.
const CALLS: u32 = 32;
/// Time for calls that were cut short to give back what they asked for.
const GIVING_BACK: Duration = Duration::from_secs(2);

/// What the model is told before it calls anything.
const INSTRUCTIONS: &str = "Jeton gives you access for a short time, and only to what you need. Call \
`session` first: it says what you may ask for. Call `request` with the least that the work needs and a \
true reason, and `release` as soon as you are done. You never get a credential: the broker's gateway \
adds it to your calls; commands reach it when they run under `jeton proxy`. A refusal says what to ask for instead.";

/// Serves until standard input ends.
///
/// # Errors
/// When no session is named, the broker can't be reached, or the other side does not speak MCP.
pub async fn run(global: &Global) -> Result<Exit, Failure> {
    let settings = global.settings();
    if settings.handle.is_none() && settings.session_file.is_none() {
        return Err(calls::no_session());
    }
    let places = Arc::new(Semaphore::new(usize::try_from(CALLS).unwrap_or(1)));
    let client = settings.connect().await?;
    let (input, output) = stdio();
    let (input, ended) = Input::new(input);
    let server = Server { client, places: Arc::clone(&places), ended };
    let lines = AsyncRwTransport::new_server(input, output).with_max_line_length(LINE_BYTES);
    let serving = match server.serve(lines).await {
        Ok(serving) => serving,
        Err(error) => return begun_badly(&error),
    };
    let served = serving.waiting().await;
    // Why ignored: what is not given back by then ends by its own time.
    let _ = tokio::time::timeout(GIVING_BACK, places.acquire_many(CALLS)).await;
    served.map_err(|error| Failure::Broken(format!("the server broke: {error}")))?;
    Ok(exit::OK)
}

fn begun_badly(error: &ServerInitializeError) -> Result<Exit, Failure> {
    if matches!(error, ServerInitializeError::ConnectionClosed(_)) {
        return Ok(exit::OK);
    }
    // Why not its text: it repeats what the other side sent.
    let words =
        "standard input does not begin as MCP does; a client of the protocol starts `jeton mcp`";
    Err(Failure::Invalid(words.to_owned()))
}

struct Server {
    client: Client,
    places: Arc<Semaphore>,
    ended: Ended,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("jeton", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools: Result<_, _> = tools::ALL.iter().map(Tool::described).collect();
        tools
            .map(ListToolsResult::with_all_items)
            .map_err(|words| ErrorData::internal_error(words, None))
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = tools::named(&asked.name)
            .ok_or_else(|| ErrorData::invalid_params(tools::unknown(&asked.name), None))?;
        let given_up = async {
            tokio::select! {
                () = context.ct.cancelled() => {}
                () = self.ended.clone().ended() => {}
            }
        };
        let told = async {
            let _place = self.places.try_acquire().map_err(|_| too_many())?;
            let call = tool.read(asked.arguments.unwrap_or_default())?;
            calls::answer(&self.client, call, given_up).await
        };
        Ok(told.await.unwrap_or_else(|failure| Told::failure(&failure)).into())
    }
}

fn too_many() -> Failure {
    Failure::Invalid(format!("{CALLS} calls are under way; wait until one of them is answered"))
}
