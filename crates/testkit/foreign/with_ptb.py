"""The scenario with python-telegram-bot."""

import asyncio

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto, ReactionTypeEmoji
from telegram import ReplyParameters
from telegram.error import BadRequest, RetryAfter

from common import ADA, API, CHAT, LONG, TOKEN, control, step


async def refused(awaitable, words):
    try:
        await awaitable
    except BadRequest as err:
        return words.lower() in err.message.lower()
    return False


async def main():
    async with Bot(TOKEN, base_url=API + "/bot", base_file_url=API + "/file/bot") as bot:
        me = await bot.get_me()
        step("the bot knows itself", me.is_bot and me.username == "tinyclaw_bot")

        said = control("say", chat=CHAT, **{"from": ADA}, text="hello")
        updates = await bot.get_updates(timeout=5)
        step("a message arrives", updates[0].message.text == "hello" and updates[0].message.from_user.id == ADA)
        again = await bot.get_updates(timeout=1)
        step("unconfirmed, it arrives again", again[0].update_id == updates[0].update_id)
        step("confirmed, it does not", await bot.get_updates(offset=updates[0].update_id + 1, timeout=0) == ())

        keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Stop", callback_data="s:1")]])
        sent = await bot.send_message(CHAT, "<b>Hi</b> &amp; <code>x</code>", parse_mode="HTML",
                                      reply_parameters=ReplyParameters(said["message_id"]), reply_markup=keyboard)
        step("markup becomes entities", sent.text == "Hi & x" and [e.type for e in sent.entities] == ["bold", "code"])
        step("a reply knows what it replies to", sent.reply_to_message.message_id == said["message_id"])
        step("broken markup is refused",
             await refused(bot.send_message(CHAT, "<email>", parse_mode="HTML"), "can't parse entities"))
        step("too long a text is refused", await refused(bot.send_message(CHAT, LONG), "message is too long"))
        step("an edit that changes nothing is refused",
             await refused(bot.edit_message_text("<b>Hi</b> &amp; <code>x</code>", chat_id=CHAT,
                                                 message_id=sent.message_id, parse_mode="HTML",
                                                 reply_markup=keyboard), "message is not modified"))

        control("press", chat=CHAT, message=sent.message_id, **{"from": ADA}, label="Stop")
        query = (await bot.get_updates(offset=updates[0].update_id + 1, timeout=5))[0].callback_query
        step("a press arrives", query.data == "s:1" and query.message.message_id == sent.message_id)
        step("and is answered", await bot.answer_callback_query(query.id, text="yes"))
        step("but once", await refused(bot.answer_callback_query(query.id), "query is too old"))
        edited = await bot.edit_message_text("done", chat_id=CHAT, message_id=sent.message_id)
        step("an edit without a keyboard takes it away", edited.text == "done" and edited.reply_markup is None)

        step("a legal reaction is taken",
             await bot.set_message_reaction(CHAT, said["message_id"], [ReactionTypeEmoji("👀")]))
        step("an illegal one is refused",
             await refused(bot.set_message_reaction(CHAT, said["message_id"], [ReactionTypeEmoji("✅")]),
                           "REACTION_INVALID"))

        document = await bot.send_document(CHAT, b"# answer", filename="answer.md", caption="here")
        step("a file goes out", document.document.file_name == "answer.md" and document.caption == "here")
        back = await (await bot.get_file(document.document.file_id)).download_as_bytearray()
        step("and comes back", bytes(back) == b"# answer")
        photos = [InputMediaPhoto(b"p", filename=f"{n}.png") for n in range(2)]
        album = await bot.send_media_group(CHAT, photos)
        step("an album is one group", len({it.media_group_id for it in album}) == 1 and len(album) == 2)

        topic = await bot.create_forum_topic(CHAT, "Website")
        there = await bot.send_message(CHAT, "in it", message_thread_id=topic.message_thread_id)
        step("a topic holds messages", there.is_topic_message and there.message_thread_id == topic.message_thread_id)
        step("it is renamed", await bot.edit_forum_topic(CHAT, topic.message_thread_id, name="Site"))
        step("and closed", await bot.close_forum_topic(CHAT, topic.message_thread_id))
        control("deleteTopic", chat=CHAT, topic=topic.message_thread_id)
        step("gone, it is not found",
             await refused(bot.send_message(CHAT, "x", message_thread_id=topic.message_thread_id),
                           "message thread not found"))
        step("typing in it is still fine",
             await bot.send_chat_action(CHAT, "typing", message_thread_id=topic.message_thread_id))

        control("break", fault={"method": "sendMessage", "times": 1, "what": {"is": "tooMany", "seconds": 7}})
        try:
            await bot.send_message(CHAT, "x")
            step("haste has its price", False)
        except RetryAfter as err:
            waits = err.retry_after
            step("haste has its price", getattr(waits, "total_seconds", lambda: waits)() == 7)


asyncio.run(main())
