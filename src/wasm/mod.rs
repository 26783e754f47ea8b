//! What JavaScript sees: exported classes, no logic. Layer 4: the only place with wasm_bindgen, js_sys, web_sys.
//!
//! The interface is written down for TypeScript in `www/pkg/src/abi.ts`. A thrown value is `{ code, message, details }`;
//! code `RangeError` or `TypeError` means the caller's value. One engine lives in one worker.

mod clock;
mod encode;
mod later;
mod pace;
mod processor;
mod promise;
mod score;
mod sha256;
#[cfg(feature = "cpu")]
mod threads;
mod types;

pub use later::load_later;
pub use sha256::Sha256;
#[cfg(feature = "cpu")]
pub use threads::pool_worker;

use js_sys::Promise;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use self::{
    encode::JsEncodeRequest,
    pace::{Pace, hand_over},
    processor::Processor,
    promise::promise,
    score::JsScoreRequest,
    types::{DeviceKind, EngineInfo, EngineOptions, GenerateEvent, GenerateRequest, PlainError, from_js, to_js},
};
use crate::{
    engine::{self, Loader},
    error::{Error, Result},
    tokenizer::EncodeOptions,
};

/// The result of what JavaScript calls: an error is thrown as a plain object.
type JsResult<T> = Result<T, JsValue>;

/// A model that is loading or ready, in its worker.
#[wasm_bindgen]
pub struct Engine {
    /// First, because what is in it lies on the processor.
    state: State,
    pace: Pace,
    processor: Processor,
}

enum State {
    Loading(Box<Loader>),
    Ready(Box<engine::Engine>),
    /// Loading went wrong; every call says so again.
    Failed(Error),
}

#[wasm_bindgen]
impl Engine {
    /// A promise of an engine. `options`: `{ device: 'cpu' | 'webgpu', gpu?: { subgroups, subgroupMinSize, subgroupMaxSize },
    /// contextLength?, kvType, threads, vocabulary? }`.
    pub fn create(options: JsValue) -> Promise {
        console_error_panic_hook::set_once();
        promise(async move {
            let options: EngineOptions = from_js(options)?;
            let processor = Processor::get(&options).await.map_err(throw)?;
            let loader = Loader::new(options.load_options(processor.device()).map_err(throw)?);
            Ok(Self { state: State::Loading(Box::new(loader)), pace: Pace::default(), processor }.into())
        })
    }

    /// Takes the next bytes of the file. Returns facts about the model once: when its header is complete.
    pub fn feed(&mut self, bytes: &[u8]) -> JsResult<JsValue> {
        match self.loading()?.feed(bytes) {
            Ok(true) => self.info(),
            Ok(false) => Ok(JsValue::UNDEFINED),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Begins with the header of one of several files; one that was begun and did not end is forgotten.
    #[wasm_bindgen(js_name = beginHeader)]
    pub fn begin_header(&mut self, name: &str) -> JsResult<()> {
        self.loading()?.begin_header(name);
        Ok(())
    }

    /// Takes the next bytes of that file; once its header is complete, of how many files the model is. After an error the
    /// file may be begun again.
    #[wasm_bindgen(js_name = feedHeader)]
    pub fn feed_header(&mut self, bytes: &[u8]) -> JsResult<Option<u32>> {
        let count = self.loading()?.feed_header(bytes).map_err(throw)?;
        Ok(count.map(|n| n as u32))
    }

    /// Throws what is missing where that file ends before its header is complete.
    #[wasm_bindgen(js_name = endHeader)]
    pub fn end_header(&mut self) -> JsResult<()> {
        self.loading()?.end_header().map_err(throw)
    }

    /// Decides about a model all of whose headers have come; gives the order in which to feed the files.
    pub fn join(&mut self) -> JsResult<Vec<u32>> {
        let joined = self.loading()?.join();
        let order = joined.map_err(|error| self.fail(error))?;
        Ok(order.into_iter().map(|place| place as u32).collect())
    }

    /// Decides about a checkpoint whose header this is; `feed` then takes the data of its tensors.
    #[wasm_bindgen(js_name = beginCheckpoint)]
    pub fn begin_checkpoint(&mut self, header: &[u8]) -> JsResult<()> {
        self.loading()?.begin_checkpoint(header).map_err(|error| self.fail(error))
    }

    /// Uses some milliseconds in which nothing arrives, to run code before it is waited for; false where there is nothing to do until more
    /// has come.
    pub fn warm(&mut self) -> JsResult<bool> {
        let warmed = self.loading()?.warm();
        warmed.map_err(|error| self.fail(error))
    }

    /// Ends one of several files.
    #[wasm_bindgen(js_name = endFile)]
    pub fn end_file(&mut self) -> JsResult<()> {
        self.loading()?.end_file().map_err(|error| self.fail(error))
    }

    /// Resolves when the device has shown that it computes what it is told; after the header, and before the file's end.
    pub fn check(&mut self) -> JsResult<Promise> {
        let check = self.loading()?.check();
        Ok(promise(async move { check.await.map(|()| JsValue::UNDEFINED).map_err(throw) }))
    }

    /// Ends the model: its only file, or after the last of several.
    pub fn finish(&mut self) -> JsResult<()> {
        let unfinished = State::Failed(Error::internal("loading did not finish"));
        match std::mem::replace(&mut self.state, unfinished) {
            State::Loading(loader) => match loader.finish() {
                Ok(mut engine) => {
                    match self.processor.kind() {
                        DeviceKind::Cpu => engine.session.measure_by(clock::now_ms),
                        DeviceKind::WebGpu => engine.session.look_ahead_by(clock::now_ms),
                    }
                    self.state = State::Ready(Box::new(engine));
                    Ok(())
                }
                Err(error) => Err(self.fail(error)),
            },
            State::Ready(engine) => {
                self.state = State::Ready(engine);
                Ok(())
            }
            State::Failed(error) => Err(self.fail(error)),
        }
    }

    /// Facts about the model and about what runs it.
    pub fn info(&self) -> JsResult<JsValue> {
        let info = match &self.state {
            State::Loading(loader) => loader.info(),
            State::Ready(engine) => Some(&engine.info),
            State::Failed(error) => return Err(throw(error.clone())),
        };
        let info = info.ok_or_else(|| throw(Error::internal("the header is not complete")))?;
        to_js(&EngineInfo::new(info, &self.processor))
    }

    /// What rendering a chat needs: `{ chatTemplate?, bosToken?, eosToken?, specialStrings }`.
    pub fn template(&self) -> JsResult<JsValue> {
        to_js(&self.ready()?.template)
    }

    /// Token ids of a text. `joiner`: one noncharacter that is taken out of user text after special tokens were split off.
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        joiner: Option<String>,
    ) -> JsResult<Vec<u32>> {
        let joiner = joiner.and_then(|joiner| joiner.chars().next());
        Ok(self.ready()?.tokenizer.encode(text, &EncodeOptions { add_special, parse_special, joiner }))
    }

    /// Text of token ids, special tokens written out.
    pub fn detokenize(&self, ids: &[u32]) -> JsResult<String> {
        Ok(self.ready()?.tokenizer.decode(ids, false))
    }

    /// Starts a generation; what is wrong with the request is thrown before any work.
    pub fn start(&mut self, request: JsValue) -> JsResult<()> {
        let request: GenerateRequest = from_js(request)?;
        let request = request.checked().map_err(throw)?;
        self.ready_mut()?.0.session.start(request).map_err(throw)
    }

    /// Starts the encoding of texts; the same rules.
    pub fn encode(&mut self, request: JsValue) -> JsResult<()> {
        let request: JsEncodeRequest = from_js(request)?;
        let request = request.checked().map_err(throw)?;
        self.ready_mut()?.0.session.encode(request).map_err(throw)
    }

    /// Starts the scoring of texts; the same rules.
    pub fn score(&mut self, request: JsValue) -> JsResult<()> {
        let request: JsScoreRequest = from_js(request)?;
        let request = request.checked().map_err(throw)?;
        self.ready_mut()?.0.session.score(request).map_err(throw)
    }

    /// What is there of a conversation, by its tokens, as bytes with a note; `undefined` while a device is waited for, and then it is
    /// to be called again with the same.
    pub fn snapshot(&mut self, note: &[u8], tokens: &[u32]) -> JsResult<Option<Vec<u8>>> {
        self.ready_mut()?.0.snapshot(note, tokens).map_err(throw)
    }

    /// Takes such bytes up; gives the note.
    pub fn restore(&mut self, bytes: &[u8]) -> JsResult<Vec<u8>> {
        self.ready_mut()?.0.restore(bytes).map_err(throw)
    }

    /// Goes on, on the CPU for about `budgetMs`, on the GPU until there is nothing to do but to wait; returns what happened.
    pub fn advance(&mut self, budget_ms: f64) -> JsResult<JsValue> {
        let runs_elsewhere = self.processor.kind() == DeviceKind::WebGpu;
        let (engine, pace) = self.ready_mut()?;
        let session = &mut engine.session;
        let events = if runs_elsewhere { hand_over(session) } else { pace.run(session, budget_ms) }.map_err(throw)?;
        let events: Vec<GenerateEvent> = events.into_iter().map(Into::into).collect();
        to_js(&events)
    }

    /// What to wait for before [`Self::advance`] can go on; `undefined` where it can at once. It holds nothing of the engine.
    #[wasm_bindgen(js_name = ready)]
    pub fn until_ready(&self) -> JsResult<Option<Promise>> {
        let signal = self.ready()?.session.waiting().filter(|signal| !signal.is_raised());
        Ok(signal.map(|signal| {
            promise(async move {
                signal.await;
                Ok(JsValue::UNDEFINED)
            })
        }))
    }

    /// Makes a browser look whether the GPU is done.
    pub fn nudge(&self) {
        self.processor.nudge();
    }

    /// Gives up the generation or the snapshot in progress; the next one works.
    pub fn cancel(&mut self) -> JsResult<()> {
        self.ready_mut()?.0.session.cancel().map_err(throw)
    }

    /// What [`pool_worker`] wants, 0 where there are no threads.
    #[wasm_bindgen(js_name = poolAddress)]
    pub fn pool_address(&self) -> usize {
        self.processor.pool_address()
    }

    /// Lets the engine find out, while it works, how many threads it is fastest with; `one` and `several` are what it begins with for
    /// steps of one row and of several. Without it all threads compute.
    pub fn tune(&self, one: usize, several: usize) {
        self.processor.tune([one, several]);
    }

    /// What was found out, in that order; 0 where nothing is yet.
    #[wasm_bindgen(js_name = foundThreads)]
    pub fn found_threads(&self) -> Vec<u32> {
        self.processor.found_threads().map(|n| n as u32).into()
    }

    /// What has been measured of steps since the last call; null where nothing was. Whether to go on measuring.
    pub fn profile(&mut self, on: bool) -> JsResult<JsValue> {
        let executor = self.ready_mut()?.0.session.executor();
        let profile = executor.take_profile();
        executor.set_profiling(on);
        to_js(&profile)
    }

    fn ready(&self) -> JsResult<&engine::Engine> {
        match &self.state {
            State::Ready(engine) => Ok(engine),
            State::Loading(_) => Err(throw(still_loading())),
            State::Failed(error) => Err(throw(error.clone())),
        }
    }

    fn ready_mut(&mut self) -> JsResult<(&mut engine::Engine, &mut Pace)> {
        match &mut self.state {
            State::Ready(engine) => Ok((engine, &mut self.pace)),
            State::Loading(_) => Err(throw(still_loading())),
            State::Failed(error) => Err(throw(error.clone())),
        }
    }

    fn loading(&mut self) -> JsResult<&mut Loader> {
        match &mut self.state {
            State::Loading(loader) => Ok(loader),
            State::Ready(_) => Err(throw(Error::internal("the file has ended"))),
            State::Failed(error) => Err(throw(error.clone())),
        }
    }

    /// Loading is over; gives the memory back.
    fn fail(&mut self, error: Error) -> JsValue {
        self.state = State::Failed(error.clone());
        throw(error)
    }
}

fn still_loading() -> Error {
    Error::internal("the model is still loading")
}

/// An error as JavaScript sees it.
fn throw(error: Error) -> JsValue {
    plain(&PlainError::from(&error))
}

fn plain(error: &impl Serialize) -> JsValue {
    to_js(error).unwrap_or_else(|unserializable| unserializable)
}
