//! How people begin a message that says something about an answer. Folded like messages: no accents, no capitals. Several
//! phrases of a language stand in one line, parted by `|`.

/// What may stand in front and says nothing.
pub(super) const OPENERS: &[&str] = &[
    "sorry | hm | hmm | hmmm | uh | um | well | but | ok but | okay but | and | oh | ah | please | pls | hey | actually",
    "bitte | aber | leider | also | désolé | mais | perdón | pero | desculpa | mas | scusa | ma | maar | helaas | ale",
    "извини | но | а | хм | вибач | але | ama | でも | すみません | 但是 | 可是 | 请 | 근데 | 하지만 | لكن | אבל | लेकिन | tapi | maaf | nhưng | แต่",
];

/// "No" by itself. It counts where it ends there, and not as the beginning of "no new dependencies".
pub(super) const NO: &[&str] = &[
    "no | nope | nah | nein | nee | ne | non | não | nao | nej | nei | nie | nu | нет | неа | ні | hayır | いいえ | いや",
    "不 | 不是 | 아니요 | 아니오 | 아니 | لا | לא | नहीं | nahi | nahin | tidak | nggak | gak | bukan | không | ไม่",
];

/// What follows an English "no" that ends nowhere.
pub(super) const CONTRAST: &[&str] = &[
    "that | that's | thats | this | it | it's | its | i meant | i said | not | the other | wrong | you | still | instead",
];

/// What follows a "no" that complains of nothing.
pub(super) const KIND: &[&str] = &[
    "thanks | thank | thx | ty | cheers | problem | worries | rush | need | stress | idea | hurry | more | that's all | thats all",
    "that is all | that's it | thats it | that's fine | thats fine | that is fine | that's ok | that's okay | thats ok | it's fine",
    "its fine | it is fine | it's ok | its ok | it's okay | it's good | its good | it's all good | all good | fine | ok | okay",
    "good | great | perfect | nice | cool | leave it | keep it | not now | not yet | not today | later | never mind | nevermind",
    "i'll | i will | let me | wait | nothing | you're right | you are right | that's right | thats right | that's correct",
    "that's good | that's great | that's perfect | that's enough | it works | right | correct | you can | you don't have to",
    "danke | passt | passt so | alles gut | schon gut | ist gut | reicht | später | brauche ich nicht | nicht nötig",
    "merci | c'est bon | ça va | c'est parfait | plus tard | gracias | está bien | así está bien | más tarde | obrigado | obrigada",
    "tudo bem | está bom | grazie | va bene | basta così | bedankt | dank | dank je | is goed | hoeft niet | tack | det är bra",
    "dzięki | dziękuję | w porządku | díky | děkuji | mulțumesc | mersi | спасибо | всё хорошо | все нормально | не надо | дякую",
    "не треба | teşekkür | teşekkürler | sağ ol | gerek yok | ありがとう | 大丈夫 | 結構 | 谢谢 | 不用 | 没事 | 不客气 | 감사 | 고마 | 괜찮",
    "شكرا | تمام | תודה | זה בסדר | धन्यवाद | ठीक | dhanyavad | theek | terima kasih | makasih | tidak apa | gak apa | cảm ơn | được rồi | ขอบคุณ | ไม่เป็นไร",
];

/// What says that an answer will not do, wherever it goes on to.
pub(super) const WRONG: &[&str] = &[
    "that's wrong | thats wrong | that is wrong | this is wrong | it's wrong | its wrong | you're wrong | you are wrong | wrong again",
    "wrong file | wrong one | wrong branch | wrong answer | wrong place | wrong repo | wrong folder | wrong direction",
    "not right | not correct | not what i | that's not right | thats not right | that's not it | thats not it | that's not what",
    "thats not what | that is not what | that's not true | that's not correct | that is not correct | that's not how | that's not the",
    "still broken | still not | still fails | still failing | still red | still wrong | still the same | still doesn't | still doesnt",
    "still does not | still there | still get | still getting | still see | still crashes | still nothing | still an error",
    "it still | its still | it's still | it is still | that still | same error | same problem | same result | same issue | nothing changed",
    "doesn't work | doesnt work | does not work | didn't work | didnt work | did not work | not working | it doesn't work",
    "it doesnt work | it does not work | it didn't work | it's not working | its not working | that doesn't work | that didn't work",
    "that didnt work | that did not work | didn't help | that didn't help | you misunderstood | you broke | you got it wrong",
    "i meant | i didn't ask | i did not ask | that's not helpful | you forgot | you missed | you didn't | you did not",
    "das ist falsch | das war falsch | stimmt nicht | das stimmt nicht | immer noch nicht | immer noch kaputt | immer noch rot",
    "immer noch falsch | geht nicht | geht immer noch nicht | das geht nicht | funktioniert nicht | funktioniert immer noch nicht",
    "klappt nicht | so nicht | das meinte ich nicht | nicht richtig | das ist nicht richtig | du hast vergessen",
    "c'est faux | toujours pas | ça ne marche | ça marche pas | ça marche toujours pas | ne marche pas | marche pas | pas ça",
    "ce n'est pas ça | ce n'est pas bon | ce n'est pas ce que | c'est pas ça | c'est pas bon | c'est pas ce que | rien n'a changé",
    "está mal | eso está mal | sigue sin | sigue fallando | sigue igual | sigue roto | no funciona | no es eso | no es lo que",
    "así no | te equivocas | todavía no funciona | está errado | tá errado | não funciona | não funcionou | não é isso",
    "não era isso | ainda não funciona | não deu certo | continua quebrado | è sbagliato | non funziona | non va | non è quello",
    "non è giusto | ancora non funziona | ancora rotto | klopt niet | dat klopt niet | werkt niet | werkt nog steeds niet",
    "nog steeds niet | nog steeds kapot | nog steeds fout | doet het niet | doet het nog steeds niet | dat is fout | niet goed",
    "det är fel | fungerar inte | funkar inte | fortfarande fel | fortfarande trasig | stämmer inte | inte rätt | virker ikke",
    "nie działa | nadal nie | dalej nie | to nie to | to źle | nefunguje | pořád nefunguje | stále nefunguje | to je špatně",
    "nu merge | nu funcționează | tot nu | e greșit | неверно | неправильно | не то | не так | не работает | все еще не | всё равно не",
    "опять не | ты ошибся | не те | не працює | досі не | все ще не | bu yanlış | yanlış oldu | hâlâ çalışmıyor | hala çalışmıyor",
    "çalışmıyor | öyle değil | bu değil | 違う | 違います | ちがう | 間違って | 間違い | まだ動か | 動かない | 動きません | 直ってない",
    "直っていない | 错了 | 不对 | 不是这 | 不是我 | 还是不 | 还是没 | 没有用 | 搞错 | 弄错 | 不行 | 틀렸 | 아니야 | 아닌데 | 그게 아니 | 안 돼",
    "안돼 | 여전히 안 | 아직도 안 | 잘못 | خطأ | غلط | لا يعمل | ليس هذا | ما زال | לא נכון | טעות | עדיין לא | לא עובד | זה לא נכון",
    "गलत | काम नहीं | यह नहीं | ये नहीं | अभी भी नहीं | galat | kaam nahi | nahi chal | abhi bhi nahi | ye nahi | yeh nahi | salah",
    "masih error | masih sama | masih gagal | masih belum | masih salah | bukan itu | tidak jalan | gak jalan | tidak berfungsi",
    "sai rồi | không đúng | vẫn lỗi | vẫn không | vẫn bị | không chạy | chưa được | ผิด | ไม่ใช่ | ยังไม่ได้ | ไม่ทำงาน | ใช้ไม่ได้",
];

/// The same in a word that begins other things, too: "wrong password in the test", "undo the last migration".
pub(super) const STRICTLY_WRONG: &[&str] = &[
    "wrong | incorrect | not quite | undo | undo it | undo that | undo this | revert it | revert that | put it back | change it back | i said",
    "falsch | nicht das | faux | incorrecto | mal | errado | sbagliato | fout | verkeerd | fel | źle | špatně | greșit",
    "ошибка | yanlış | olmadı | だめ | ダメ | 错误 | 没用 | sai",
];

/// What asks for the same again, when nothing follows that is something else.
pub(super) const AGAIN: &[&str] = &[
    "again | try again | try it again | try that again | try this again | try once more | once more | one more time | do it again",
    "do that again | do this again | redo | redo it | redo that | redo this | retry | start over | ask again",
    "nochmal | noch mal | noch einmal | nochmals | erneut | versuch es nochmal | versuch es noch einmal | mach es nochmal",
    "mach das nochmal | von vorne | encore | encore une fois | réessaie | réessaye | recommence | refais | refais-le",
    "otra vez | de nuevo | inténtalo de nuevo | inténtalo otra vez | prueba otra vez | hazlo otra vez | de novo | outra vez",
    "tenta de novo | tente novamente | novamente | refaz | di nuovo | ancora | ancora una volta | riprova | rifallo",
    "opnieuw | nog een keer | nog eens | probeer opnieuw | probeer het opnieuw | igen | en gång till | försök igen | gör om",
    "jeszcze raz | spróbuj ponownie | ponownie | znovu | ještě jednou | zkus to znovu | din nou | încă o dată",
    "ещё раз | еще раз | попробуй ещё раз | заново | снова | опять | сделай ещё раз | ще раз | спробуй ще раз | знову",
    "tekrar | tekrar dene | bir daha | もう一度 | もう一回 | やり直して | やり直し | 再度 | 再来一次 | 重来 | 再试一次 | 重试 | 重做 | 再试试",
    "다시 | 다시 해 | 다시 해줘 | 다시 해 줘 | 한 번 더 | مرة أخرى | حاول مرة أخرى | שוב | עוד פעם | נסה שוב | फिर से | दोबारा",
    "phir se | dobara | coba lagi | ulangi | sekali lagi | làm lại | thử lại | lần nữa | อีกครั้ง | ลองใหม่ | ทำใหม่",
];

/// What may follow such words.
pub(super) const PLEASE: &[&str] = &[
    "please | pls | plz | but | with | properly | carefully | correctly | from scratch | and this time | this time",
    "bitte | aber | diesmal | s'il te plaît | s'il vous plaît | stp | mais | por favor | pero | mas | per favore | ma",
    "alsjeblieft | maar | tack | proszę | prosím | пожалуйста | но | будь ласка | lütfen | お願い | ください | して | 请 | 吧 | 해",
    "من فضلك | בבקשה | कृपया | tolong | ya | nhé | đi | ครับ | ค่ะ | dong",
];

/// What comes back to the same with another model: "/opus think about it".
pub(super) const BACK: &[&str] = &[
    "think | look again | look at it | check again | check it | check that | are you sure | really | do it | fix it | solve it",
    "try | you do it | your turn | what do you think | what do you say | is that right | is this right | harder | deeper | better",
    "same question | same | denk | schau nochmal | bist du sicher | stimmt das | mach du | réfléchis | t'es sûr | piensa",
    "estás seguro | pensa | sei sicuro | подумай | ты уверен | 再想想 | 你确定 | よく考えて | 本当 | 다시 생각",
];
