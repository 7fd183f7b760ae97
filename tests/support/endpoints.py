"""A model endpoint on loopback that says what a script says, in the four dialects that coding agents speak.

It answers a first request with a call of the client's own tool for edits, and the next with a last word; so a
real client goes through its whole loop. What it is asked is kept, to be looked at.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = "IDEA: sharper logits\nThe logits are multiplied by five."


class Endpoint:
    """old, new: what is replaced in train.py by what. Use as a context; `url` has no path."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new
        self.requests: list[dict] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer({"object": "list", "data": []})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                endpoint.requests.append({"path": self.path, "body": body})
                endpoint.respond(self, self.path, body)

            def answer(self, record: dict) -> None:
                self.send(json.dumps(record).encode(), "application/json")

            def stream(self, events: list[tuple[str, dict]], end: str = "") -> None:
                lines = [f"event: {name}\n" * bool(name) + f"data: {json.dumps(event)}\n\n" for name, event in events]
                self.send(("".join(lines) + end).encode(), "text/event-stream")

            def send(self, content: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def respond(self, to, path: str, body: dict) -> None:
        if "/messages" in path:
            self.anthropic(to, path, body)
        elif path.endswith("/chat/completions"):
            self.chat(to, body)
        elif path.endswith("/responses"):
            self.responses(to, body)
        else:
            self.gemini(to, path, body)

    def anthropic(self, to, path: str, body: dict) -> None:
        if "count_tokens" in path:
            return to.answer({"input_tokens": 1000})
        tools = {tool.get("name") for tool in body.get("tools") or []}
        done = sum(part.get("type") == "tool_result" for part in parts_of(body.get("messages")))
        folder = re.search(r'orking directory: ([^\\\s"<]+)', json.dumps(body))
        file = f"{folder[1] if folder else '.'}/train.py"
        if tools and done == 0:
            block = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file_path": file}}
        elif tools and done == 1:
            edit = {"file_path": file, "old_string": self.old, "new_string": self.new}
            block = {"type": "tool_use", "id": "toolu_2", "name": "Edit", "input": edit}
        else:
            block = {"type": "text", "text": ANSWER}
        is_text = block["type"] == "text"
        usage = {"input_tokens": 1000, "output_tokens": 50}
        message = {
            "id": f"msg_{time.time_ns()}", "type": "message", "role": "assistant", "model": body.get("model"),
            "content": [block], "stop_reason": "end_turn" if is_text else "tool_use", "stop_sequence": None,
            "usage": usage,
        }  # fmt: skip
        if not body.get("stream"):
            return to.answer(message)
        begun = {"type": "text", "text": ""} if is_text else {**block, "input": {}}
        delta = (
            {"type": "text_delta", "text": ANSWER}
            if is_text
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        events = [
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": begun},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": usage},
            {"type": "message_stop"},
        ]
        return to.stream([(event["type"], event) for event in events])

    def chat(self, to, body: dict) -> None:
        tools = [tool["function"]["name"] for tool in body.get("tools") or []]
        messages = body.get("messages") or []
        folder = re.search(r"Working directory: (\S+)", "\n".join(map(text_of, messages)))
        call = None
        text = ANSWER
        if "edit" in tools and not any(message.get("role") == "tool" for message in messages):
            given = {
                "filePath": f"{folder[1] if folder else '.'}/train.py",
                "oldString": self.old,
                "newString": self.new,
            }
            call = {"id": "call_1", "type": "function", "function": {"name": "edit", "arguments": json.dumps(given)}}
        elif not tools:  # a client that reads edits from the text
            fence = "`" * 3
            block = f"<<<<<<< SEARCH\n{self.old}\n=======\n{self.new}\n>>>>>>> REPLACE"
            text += f"\n\ntrain.py\n{fence}python\n{block}\n{fence}\n"
        message = (
            {"role": "assistant", "content": None, "tool_calls": [call]}
            if call
            else {"role": "assistant", "content": text}
        )
        reason = "tool_calls" if call else "stop"
        usage = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
        base = {"id": f"chatcmpl-{time.time_ns()}", "created": int(time.time()), "model": body.get("model")}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return to.answer({**base, "object": "chat.completion", "usage": usage, "choices": [choice]})
        if call:
            message = {**message, "tool_calls": [{**call, "index": 0}]}

        def chunk(choices: list, **more: object) -> tuple[str, dict]:
            return "", {**base, "object": "chat.completion.chunk", "choices": choices, **more}

        chunks = [
            chunk([{"index": 0, "delta": message, "finish_reason": None}]),
            chunk([{"index": 0, "delta": {}, "finish_reason": reason}]),
            chunk([], usage=usage),
        ]
        return to.stream(chunks, "data: [DONE]\n\n")

    def responses(self, to, body: dict) -> None:
        items = [item for item in body.get("input") or [] if isinstance(item, dict)]
        tools = {tool.get("name") for tool in body.get("tools") or []}
        patch = f"*** Begin Patch\n*** Update File: train.py\n@@\n-{self.old}\n+{self.new}\n*** End Patch\n"
        own = f"call_{time.time_ns()}"
        if any(str(item.get("type", "")).endswith("_output") for item in items):
            part = {"type": "output_text", "text": ANSWER, "annotations": []}
            item = {"type": "message", "id": own, "role": "assistant", "status": "completed", "content": [part]}
        elif any(item.get("type") == "additional_tools" for item in items):  # newer models write JavaScript
            code = f"const r = await tools.apply_patch({json.dumps(patch)}); text(r);"
            item = {
                "type": "custom_tool_call", "id": own, "call_id": own, "name": "exec", "namespace": "functions",
                "input": code, "status": "completed",
            }  # fmt: skip
        else:
            assert "apply_patch" in tools, tools
            item = {
                "type": "custom_tool_call", "id": own, "call_id": own, "name": "apply_patch", "input": patch,
                "status": "completed",
            }  # fmt: skip
        usage = {
            "input_tokens": 1000, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 50,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 1050,
        }  # fmt: skip
        whole = {"id": own, "object": "response", "status": "completed", "output": [item], "usage": usage}
        events = [
            {"type": "response.created", "response": {"id": own}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        ]
        to.stream([(event["type"], event) for event in events])

    def gemini(self, to, path: str, body: dict) -> None:
        if "countTokens" in path:
            return to.answer({"totalTokens": 1000})
        contents = body.get("contents") or []
        done = any("functionResponse" in part for content in contents for part in content.get("parts", []))
        if body.get("tools") and not done:
            given = {"file_path": "train.py", "instruction": "sharper", "old_string": self.old, "new_string": self.new}
            part = {"functionCall": {"name": "replace", "args": given}}
        else:
            part = {"text": ANSWER}
        candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 50, "totalTokenCount": 1050}
        answer = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}
        return to.stream([("", answer)]) if "stream" in path else to.answer(answer)


def parts_of(messages: list | None) -> list[dict]:
    """The parts of all messages."""
    contents = [message.get("content") for message in messages or []]
    return [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]


def text_of(message: dict) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""
