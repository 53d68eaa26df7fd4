BEGIN TRANSACTION;
CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY,     -- 1, 2, 3, ...: a gap is a deletion
    at           REAL NOT NULL,           -- seconds since the epoch, UTC
    kind         TEXT NOT NULL,
    tool         TEXT,
    effect       TEXT,
    user_id      TEXT,
    intent_id    TEXT,
    verdict      TEXT,
    code         TEXT,
    decided_by   TEXT,
    sink         TEXT,
    card_id      TEXT,
    amount_cents INTEGER,
    policy       TEXT NOT NULL,
    mac          BLOB NOT NULL            -- HMAC-SHA-256 over the mac before it and this row
) STRICT;
INSERT INTO "audit" VALUES(1,1.7857512028179118633e+09,'setting',NULL,NULL,NULL,NULL,'set','passphrase','terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'B1B49A2B2059473368071F63B39E4E4BB8F7035DA29A7589083039B76773A9DB');
INSERT INTO "audit" VALUES(2,1.78575120312015175817e+09,'decision',NULL,NULL,NULL,NULL,'wrong','passphrase','terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'0BC3BAD6B85BA09310F54D82E3EC7F732B6D92E7B7076368C64A4D3D97EB4C48');
INSERT INTO "audit" VALUES(3,1.78575120439574623111e+09,'call','get_balances','read','user-1',NULL,NULL,'ok',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'46F37E0EBF529D461EB14CA6BEAB243991C8F9A9732E3276AEBB59D3F2BE546C');
INSERT INTO "audit" VALUES(4,1.78575120496075749393e+09,'call','list_cards','read','user-1',NULL,NULL,'ok',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'E8367939D15ADC1E893FD9FB6B6B8EAA9F3D818FC5A198194E3E91A6AF0C17FE');
INSERT INTO "audit" VALUES(5,1.78575120500645637515e+09,'asked','create_card','money','user-1','88f2e1324b1f31a493892bfaf337550a',NULL,NULL,NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'832C25C8CF9F95226EF597BE7E56EC566C539AC13F372AE524ADFC4C08CC2364');
INSERT INTO "audit" VALUES(6,1.7857512051665022373e+09,'decision','create_card','money','user-1','88f2e1324b1f31a493892bfaf337550a','granted',NULL,'terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'B1A2F47BE3EC2B7CB9E410958C7A58E21BCF6C45FAC867CEE15CD955F2E0523C');
INSERT INTO "audit" VALUES(7,1.78575120501816368102e+09,'call','create_card','money','user-1','88f2e1324b1f31a493892bfaf337550a',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'4F51298A6254A6F7726BE396C594441786B80383C0AE182A10ACB8A64371E19C');
INSERT INTO "audit" VALUES(8,1.78575120518181538588e+09,'call','create_card','money','user-1','88f2e1324b1f31a493892bfaf337550a','executing',NULL,'terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'E56B0C1968095A46FA9966F5661CD4BC42A8757F38CE775EF692368ABDD82E07');
INSERT INTO "audit" VALUES(9,1.78575120529760408404e+09,'outcome','create_card','money','user-1','88f2e1324b1f31a493892bfaf337550a','done','ok','terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'B1A89BFF7CBD39D8F0D39A4A13CDF52BAFE599E34139D72A41DBB8E335026282');
INSERT INTO "audit" VALUES(10,1.78575120535825443272e+09,'call','quote_withdrawal','read','user-1',NULL,NULL,'ok',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'90A0F692F552FBC35FF9ADCBACE7598EE592ABC293F077490CC803AAC38B16DB');
INSERT INTO "audit" VALUES(11,1.78575120539074349407e+09,'asked','create_withdrawal','money','user-1','04eb16cae7f97e34de43e95a4fb437e9',NULL,NULL,NULL,NULL,NULL,2500,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'82022DF90220DF0421FA4F5FF86EB59CC334A037B395271EB569014399728274');
INSERT INTO "audit" VALUES(12,1.78575120542258310315e+09,'decision','create_withdrawal','money','user-1','04eb16cae7f97e34de43e95a4fb437e9','granted',NULL,'terminal',NULL,NULL,2500,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'81944CBE4E3478C415ACC97AD96CFA777C9246AC53BA02429ECE9C2F8844FE6C');
INSERT INTO "audit" VALUES(13,1.78575120539840412141e+09,'call','create_withdrawal','money','user-1','04eb16cae7f97e34de43e95a4fb437e9',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'E24288F2B8A3B5450ADD2E75D4ADF7A842B803C381F2EEE9C67F7A558A1207C4');
INSERT INTO "audit" VALUES(14,1.78575120543822407721e+09,'call','create_withdrawal','money','user-1','04eb16cae7f97e34de43e95a4fb437e9','executing',NULL,'terminal',NULL,NULL,2500,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'226044BA22A1CC5A292598DF2FA0E9327FDDA597064C6A7B0C4C7A7BC3E44A0A');
INSERT INTO "audit" VALUES(15,1.78575120657472872741e+09,'outcome','create_withdrawal','money','user-1','04eb16cae7f97e34de43e95a4fb437e9','done','ok','terminal',NULL,NULL,2500,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'8DF4FDFDA82D4A1C606F502D6B8A36222FA10EE05196839BCBD9E1DC2C86602C');
INSERT INTO "audit" VALUES(16,1.78575120660604310038e+09,'asked','create_card','money','user-1','4b6e896be7713f6ab38696c3fdc449e7',NULL,NULL,NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'A27DCA58089FD18E5231BCEAE8174F24A7C2242287AB70486CC3DD07C82EE711');
INSERT INTO "audit" VALUES(17,1.78575120663071537025e+09,'decision','create_card','money','user-1','4b6e896be7713f6ab38696c3fdc449e7','refused',NULL,'terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'F9373445B3D610D947D0A73F85C8A8A2F6C3919E588DC919A3165E4B5ED0346C');
INSERT INTO "audit" VALUES(18,1.78575120660939216619e+09,'call','create_card','money','user-1','4b6e896be7713f6ab38696c3fdc449e7',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'6B6106BD8E2AD83417E393C00E86865A723763DC88A3AF8A3ACA04EC2F0E6CA0');
INSERT INTO "audit" VALUES(19,1.78575120665832114217e+09,'call','quote_withdrawal','read','user-1',NULL,NULL,'ok',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'2972CD79DA9B5ED4FAA80624E5D07F3CA8CCABA734CE973CE96F147D5B34C83D');
INSERT INTO "audit" VALUES(20,1.78575120666653060913e+09,'asked','create_withdrawal','money','user-1','f63b238d5942de541f49c0b20a8a187a',NULL,NULL,NULL,NULL,NULL,1200,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'1FE979559BE9FDAD39FE9B211BA16B831D38CB51DEB865A592F19A796CCF74C5');
INSERT INTO "audit" VALUES(21,1.78575120666987562177e+09,'call','create_withdrawal','money','user-1','f63b238d5942de541f49c0b20a8a187a',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'00A5407D80355B2B7B0E26CE25BFF71DB00CA0381387843DB2BC6AC3D4289A82');
INSERT INTO "audit" VALUES(22,1.78575120668615531919e+09,'asked','create_card','money','user-1','4bb5f7a7c1883c3fe14aa126f4860aa0',NULL,NULL,NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'2FB8F456E6A7E57F42178B1610341A49142E95BD1722FBE9894CF2E22C9B9D6F');
INSERT INTO "audit" VALUES(23,1.78575120669580125806e+09,'call','create_card','money','user-1','4bb5f7a7c1883c3fe14aa126f4860aa0',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'8AD88D740B04156D6532FE31E8654A58860A72D681803A4DF502FC379AE0628C');
INSERT INTO "audit" VALUES(24,1.78575120671605300898e+09,'decision','create_card','money','user-1','4bb5f7a7c1883c3fe14aa126f4860aa0','granted',NULL,'terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'A868AE7BD9E8B3C21F5F9C39CEB076A7AC9DEB809496C9539DA2DDCCD2E9FA2C');
INSERT INTO "audit" VALUES(25,1.78575120673530030254e+09,'call','create_card','money','user-1','4bb5f7a7c1883c3fe14aa126f4860aa0','executing',NULL,'terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'4B5933988EE5ED556CD7736176ED3B46AEB79BD7CE0E61D857DCF05CBA2CAE57');
INSERT INTO "audit" VALUES(26,1.78575120678380489351e+09,'asked','create_card','money','user-1','fe8d38205e6239f61e6693e7ec9936ad',NULL,NULL,NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'973D7285BE429CFAA83B19161F6EBCC5097DC14BD0F456E0D5D9AF980A79E558');
INSERT INTO "audit" VALUES(27,1.78575120680130410193e+09,'decision','create_card','money','user-1','fe8d38205e6239f61e6693e7ec9936ad','granted',NULL,'terminal',NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'9A4B58648CD4A343A82C3021B2BD9A5C5A7D7C81A98A3C60508286DEE6019170');
INSERT INTO "audit" VALUES(28,1.78575120678886890409e+09,'call','create_card','money','user-1','fe8d38205e6239f61e6693e7ec9936ad',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'E02B41D8FBD18AF382089093832FBDCEEFA475D5B1EF9CDBDD1E99245F59A3BF');
INSERT INTO "audit" VALUES(29,1.78575120682343602184e+09,'asked','create_card','money','user-1','4e09346a4b91c84d1de2f95784bccfc4',NULL,NULL,NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'A14EC0F0D9A20651680C54E73C8907FC3F1D5C40DAFA59D825B01F44C4037A87');
INSERT INTO "audit" VALUES(30,1.78575120683157229422e+09,'call','create_card','money','user-1','4e09346a4b91c84d1de2f95784bccfc4',NULL,'waiting',NULL,NULL,NULL,NULL,'81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f',X'67F23DC288830F51EF8B624C3B56A4BD5A9F91EDDC72F87CD22FFE1F616FD687');
CREATE TABLE intents (
    id           TEXT PRIMARY KEY,
    tool         TEXT NOT NULL,
    effect       TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    digest       TEXT NOT NULL,          -- keyed hash of the canonical arguments
    question     TEXT NOT NULL,          -- what the person reads, frozen here
    state        TEXT NOT NULL CHECK (state IN ('waiting', 'granted', 'executing', 'done', 'failed', 'refused')),
    created_at   REAL NOT NULL,          -- seconds since the epoch, UTC
    expires_at   REAL NOT NULL,
    decided_by   TEXT,
    outcome      TEXT                    -- the first answer, given again to a repeated call
, asked_by TEXT NOT NULL DEFAULT '', policy TEXT NOT NULL DEFAULT '', stakes TEXT NOT NULL DEFAULT '{"question":""}', amount_cents INTEGER, card_id TEXT, decided_at REAL, began_at REAL, owner TEXT) STRICT;
INSERT INTO "intents" VALUES('88f2e1324b1f31a493892bfaf337550a','create_card','money','user-1','1d78ec9944c8684edf40675bd8e8ae90290fff00d9ed54e9afa4cb420fb38135','Issue a virtual card labelled “Groceries” with a limit of $50.00 per 30 days to the user “user-1”?','done',1.78575120500051093101e+09,1.78575150516630935674e+09,'terminal','{"card_id": "8ec6e96f-453a-4c04-9d39-36657fab3884", "status": "active", "brand": "VISA", "last4": "1798", "expiration_month": 8, "expiration_year": 2029, "label": "Groceries", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod", "next_steps": [{"tool": "reveal_card", "why": "Check that the card''s details can be shown.", "arguments": {"card_id": "8ec6e96f-453a-4c04-9d39-36657fab3884"}}]}','mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":null,"card_id":null,"destination":null,"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Limit","note":null,"value":"a limit of $50.00 per 30 days"},{"label":"Label","note":null,"value":"Groceries"}],"limit_cents":5000,"limit_frequency":"per30DayPeriod","limits_card":true,"only":null,"question":"Issue a virtual card labelled \u201cGroceries\u201d with a limit of $50.00 per 30 days to the user \u201cuser-1\u201d?","sink":null}',NULL,NULL,1.7857512051663093567e+09,1.78575120518134188647e+09,'0aad15ead98eeac3e1b9d1215e63ea14');
INSERT INTO "intents" VALUES('04eb16cae7f97e34de43e95a4fb437e9','create_withdrawal','money','user-1','9c2307a72bc6073efb069a60b8df01214aef3aef84b495304ec39ede5a208f5f','Withdraw $25.00 for the user “user-1” as rusd on base to “0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd”? About 25.0 rusd will arrive (an estimate).','done',1.7857512053902702331e+09,1.78575150542242026331e+09,'terminal','{"next_steps": [{"tool": "get_balances", "why": "See what is left.", "arguments": {}}], "withdrawal_id": "wd_8adbff1dee2785ebfc4459c3fa3a1bfd", "status": "ready", "amount_cents": 2500, "chain_id": 84532, "call_path": "coordinator_v2", "call_target": "0x8da2b40772091db62a79aa9cff505e701efe1993", "signature_expires_at": "2026-08-03T10:30:06Z", "note": "Ready: the wallet given as admin_address must send the transaction before the signature expires."}','mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":2500,"card_id":null,"destination":{"address":"0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","currency":"rusd","extra_id":null,"network":"base"},"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Amount","note":null,"value":"$25.00"},{"label":"Arrives","note":"an estimate","value":"about 25.0 rusd"},{"label":"Network","note":null,"value":"rusd on base"},{"label":"Address","note":"the first withdrawal to this destination","value":"0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}],"limit_cents":null,"limit_frequency":null,"limits_card":false,"only":null,"question":"Withdraw $25.00 for the user \u201cuser-1\u201d as rusd on base to \u201c0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\u201d? About 25.0 rusd will arrive (an estimate).","sink":null}',2500,NULL,1.78575120542242026322e+09,1.78575120543787145607e+09,'0aad15ead98eeac3e1b9d1215e63ea14');
INSERT INTO "intents" VALUES('4b6e896be7713f6ab38696c3fdc449e7','create_card','money','user-1','bd5ac382f0c8a6221f8947f620eb94beb0ee932a278f347c09a01bde5e5819bb','Issue a virtual card labelled “Games” with a limit of $50.00 per 30 days to the user “user-1”?','refused',1.78575120660310983659e+09,1.78575210660310983654e+09,'terminal',NULL,'mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":null,"card_id":null,"destination":null,"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Limit","note":null,"value":"a limit of $50.00 per 30 days"},{"label":"Label","note":null,"value":"Games"}],"limit_cents":5000,"limit_frequency":"per30DayPeriod","limits_card":true,"only":null,"question":"Issue a virtual card labelled \u201cGames\u201d with a limit of $50.00 per 30 days to the user \u201cuser-1\u201d?","sink":null}',NULL,NULL,1.78575120663046526909e+09,NULL,NULL);
INSERT INTO "intents" VALUES('f63b238d5942de541f49c0b20a8a187a','create_withdrawal','money','user-1','6327013d44ba9d7f2ad6886d8cdb4c3d722b9c377072508be3f1a99b9aad32e4','Withdraw $12.00 for the user “user-1” as rusd on base to “0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd”? About 12.0 rusd will arrive (an estimate).','waiting',1.78575120666390252119e+09,1.78575210666390252114e+09,NULL,NULL,'mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":1200,"card_id":null,"destination":{"address":"0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","currency":"rusd","extra_id":null,"network":"base"},"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Amount","note":null,"value":"$12.00"},{"label":"Arrives","note":"an estimate","value":"about 12.0 rusd"},{"label":"Network","note":null,"value":"rusd on base"},{"label":"Address","note":null,"value":"0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}],"limit_cents":null,"limit_frequency":null,"limits_card":false,"only":null,"question":"Withdraw $12.00 for the user \u201cuser-1\u201d as rusd on base to \u201c0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\u201d? About 12.0 rusd will arrive (an estimate).","sink":null}',1200,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES('4bb5f7a7c1883c3fe14aa126f4860aa0','create_card','money','user-1','3fc7426c7180854971c5764339fc6924cf5ba6e77ed776ebaa424101c7f032aa','Issue a virtual card labelled “Travel” with a limit of $50.00 per 30 days to the user “user-1”?','executing',1.7857512066821317673e+09,1.7857515067158339023e+09,'terminal',NULL,'mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":null,"card_id":null,"destination":null,"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Limit","note":null,"value":"a limit of $50.00 per 30 days"},{"label":"Label","note":null,"value":"Travel"}],"limit_cents":5000,"limit_frequency":"per30DayPeriod","limits_card":true,"only":null,"question":"Issue a virtual card labelled \u201cTravel\u201d with a limit of $50.00 per 30 days to the user \u201cuser-1\u201d?","sink":null}',NULL,NULL,1.78575120671583390235e+09,1.78575120673510217661e+09,'');
INSERT INTO "intents" VALUES('fe8d38205e6239f61e6693e7ec9936ad','create_card','money','user-1','5245ab1aca06dc354af246a553f4d408015fc4c00dfc1f1d4e3c389f1e59370a','Issue a virtual card labelled “Books” with a limit of $50.00 per 30 days to the user “user-1”?','granted',1.78575120678341460228e+09,1.78575150680115127561e+09,'terminal',NULL,'mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":null,"card_id":null,"destination":null,"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Limit","note":null,"value":"a limit of $50.00 per 30 days"},{"label":"Label","note":null,"value":"Books"}],"limit_cents":5000,"limit_frequency":"per30DayPeriod","limits_card":true,"only":null,"question":"Issue a virtual card labelled \u201cBooks\u201d with a limit of $50.00 per 30 days to the user \u201cuser-1\u201d?","sink":null}',NULL,NULL,1.78575120680115127565e+09,NULL,NULL);
INSERT INTO "intents" VALUES('4e09346a4b91c84d1de2f95784bccfc4','create_card','money','user-1','f902aa1f6cb8068650c01992c3f7bb4206286608512907c245c34fda7986888c','Issue a virtual card labelled “Café” with a limit of $50.00 per 30 days to the user “user-1”?','waiting',1.78575120682270407673e+09,1.78575210682270407681e+09,NULL,NULL,'mcp 0.1.0','81a7c9ced812a09a7ed1ec5f169e63fb32e54af1932cd0ec00247ca001d4663f','{"amount_cents":null,"card_id":null,"destination":null,"facts":[{"label":"User","note":null,"value":"user-1"},{"label":"Limit","note":null,"value":"a limit of $50.00 per 30 days"},{"label":"Label","note":null,"value":"Caf\u00e9"}],"limit_cents":5000,"limit_frequency":"per30DayPeriod","limits_card":true,"only":null,"question":"Issue a virtual card labelled \u201cCaf\u00e9\u201d with a limit of $50.00 per 30 days to the user \u201cuser-1\u201d?","sink":null}',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE mutations (
    id              TEXT PRIMARY KEY,
    intent_id       TEXT,                  -- none for what nobody is asked about
    tool            TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    operation       TEXT NOT NULL,         -- method and path template
    idempotency_key TEXT UNIQUE,
    body_hash       TEXT NOT NULL,
    body            TEXT,                  -- JSON
    ids             TEXT NOT NULL,         -- JSON: the ids in the path, by name
    attempts        INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'done', 'rejected', 'unknown', 'unsent', 'manual')),
    reference       TEXT,                  -- the id of what was made
    status          INTEGER,               -- the HTTP status of the last answer
    owner           TEXT NOT NULL,         -- the process that sends it
    created_at      REAL NOT NULL,         -- seconds since the epoch, UTC
    sent_at         REAL NOT NULL,         -- the first attempt that may have arrived
    last_sent_at    REAL NOT NULL,
    ended_at        REAL,
    settled_by      TEXT,                  -- who closed it, where its answer did not
    note            TEXT                   -- why a person must look
) STRICT;
INSERT INTO "mutations" VALUES('3c8f5b3886a6504e0fa01793f64f4605','88f2e1324b1f31a493892bfaf337550a','create_card','user-1','POST /cards','machines-88f2e1324b1f31a493892bfaf337550a','36794b712901a732b91c8a9e4c44aa2ac8144e39d2885470fd02104d64b795d3','{"encryptedName":{"v":1,"iv":"MCJ-MewZuYSBIWiN","ct":"QG7Bo771WfSVnMIXIEEAbhv0FADDesEUvw"},"limit":{"amountCents":5000,"frequency":"per30DayPeriod"}}','{}',1,'done','8ec6e96f-453a-4c04-9d39-36657fab3884',200,'0aad15ead98eeac3e1b9d1215e63ea14',1.78575120524640464786e+09,1.78575120524640464786e+09,1.78575120524640464786e+09,1.78575120528046703337e+09,NULL,NULL);
INSERT INTO "mutations" VALUES('9a05faa60e44d634feabe09d9462a48a','04eb16cae7f97e34de43e95a4fb437e9','create_withdrawal','user-1','POST /withdrawals','machines-04eb16cae7f97e34de43e95a4fb437e9','eefebc3a547a54e57731746239c5082721b99d8bcb8d558f6700ce0483c9e7d7',NULL,'{}',2,'done',NULL,200,'0aad15ead98eeac3e1b9d1215e63ea14',1.78575120546918392184e+09,1.78575120546918392184e+09,1.78575120651917719841e+09,1785751206.5468,NULL,NULL);
INSERT INTO "mutations" VALUES('45fd819561faba9c7c8cdabec7d19c49','4bb5f7a7c1883c3fe14aa126f4860aa0','create_card','user-1','POST /cards','machines-4bb5f7a7c1883c3fe14aa126f4860aa0','c0748d28f9de9ca95903bcc4221eed72621757e4e5ea5272498ebab06fd5f869','{"encryptedName":{"v":1,"iv":"r65ldnrHKmEQaHE8","ct":"M1yvdef5_xHtbVagyLbIfvGoND_RvQ"},"limit":{"amountCents":5000,"frequency":"per30DayPeriod"}}','{}',1,'unknown',NULL,NULL,'0aad15ead98eeac3e1b9d1215e63ea14',1.78575120674769735338e+09,1.78575120674769735338e+09,1.78575120674769735338e+09,1.78575120675961828233e+09,NULL,NULL);
CREATE TABLE passphrase_tries (
    at REAL NOT NULL                      -- a wrong try; five within 15 minutes lock
) STRICT;
INSERT INTO "passphrase_tries" VALUES(1.78575120286989736557e+09);
CREATE TABLE quotes (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL,
    terms       TEXT NOT NULL,           -- JSON: amount, destination, source, admin address, estimate
    created_at  REAL NOT NULL,
    expires_at  REAL NOT NULL,
    used_by     TEXT                     -- the withdrawal that consumed it
) STRICT;
INSERT INTO "quotes" VALUES('quote_2df4f1bdb7fd2868db1d19d652b7754b','user-1','{"amount_cents": 2500, "currency": "rusd", "network": "base", "address": "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "extra_id": null, "admin_address": null, "source_chain_id": null, "source_token_address": null, "estimated_to_amount": 25.0}',1.78575120534999799725e+09,1.78575180534999799729e+09,'wd_8adbff1dee2785ebfc4459c3fa3a1bfd');
INSERT INTO "quotes" VALUES('quote_fd5579993cf138e3bd92496c6fd23bf4','user-1','{"amount_cents": 1200, "currency": "rusd", "network": "base", "address": "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "extra_id": null, "admin_address": null, "source_chain_id": null, "source_token_address": null, "estimated_to_amount": 12.0}',1.7857512066452810764e+09,1.78575180664528107643e+09,NULL);
CREATE TABLE withdrawals (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL,
    quote_id    TEXT NOT NULL REFERENCES quotes (id),
    status      TEXT NOT NULL,
    execution   TEXT,                    -- JSON as the API gave it, for the transaction on chain
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL
, intent_id TEXT) STRICT;
INSERT INTO "withdrawals" VALUES('wd_8adbff1dee2785ebfc4459c3fa3a1bfd','user-1','quote_2df4f1bdb7fd2868db1d19d652b7754b','ready','{"status": "ready", "retry_after_seconds": null, "parameters": ["0xfffb89f43ad29f939ccbf383896e7a5da961d4b5", "0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b", "25000000", "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", 1785753006, "ZyJLImIYbxHhQJwsnLJSjv1KARe9X2wYcstRmXJLUu0=", "0xec349e874731c39e14f0d55fd9a4359ff0dc1f5867f889ecf4fce671c6c43fb0c92da844b99e3e38dac2ed18413e58472be826d844cdaa6d41e3a8449b70a06a1b"], "signature": {"data": "0xec349e874731c39e14f0d55fd9a4359ff0dc1f5867f889ecf4fce671c6c43fb0c92da844b99e3e38dac2ed18413e58472be826d844cdaa6d41e3a8449b70a06a1b", "salt": "ZyJLImIYbxHhQJwsnLJSjv1KARe9X2wYcstRmXJLUu0=", "parameters": ["0xfffb89f43ad29f939ccbf383896e7a5da961d4b5", "0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b", "25000000", "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", 1785753006, "ZyJLImIYbxHhQJwsnLJSjv1KARe9X2wYcstRmXJLUu0=", "0xec349e874731c39e14f0d55fd9a4359ff0dc1f5867f889ecf4fce671c6c43fb0c92da844b99e3e38dac2ed18413e58472be826d844cdaa6d41e3a8449b70a06a1b"], "expires_at": null}, "expires_at": "2026-08-03T10:30:06Z", "execution": {"contract_id": "2aa71ddf-fdf5-5e8d-8b9c-9ad77bcdae71", "contract_version": "v2", "chain_id": 84532, "collateral_proxy_address": "0xfffb89f43ad29f939ccbf383896e7a5da961d4b5", "controller_address": null, "coordinator_address": "0x8da2b40772091db62a79aa9cff505e701efe1993", "call_target": "0x8da2b40772091db62a79aa9cff505e701efe1993", "call_path": "coordinator_v2"}, "relay": null}',1.7857512054476366043e+09,1.78575120656625699992e+09,'04eb16cae7f97e34de43e95a4fb437e9');
CREATE INDEX intents_waiting ON intents (state, expires_at);
CREATE INDEX intents_by_tool ON intents (tool, created_at);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX intents_by_creation ON intents (created_at);
CREATE INDEX intents_by_begin ON intents (began_at);
CREATE INDEX mutations_by_intent ON mutations (intent_id);
CREATE INDEX mutations_open ON mutations (state) WHERE state IN ('pending', 'unknown', 'manual');
CREATE INDEX withdrawals_by_intent ON withdrawals (intent_id);
COMMIT;
PRAGMA user_version = 6;
