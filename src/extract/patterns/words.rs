//! The word lists: data only, one list per class of word.
//!
//! `written>meant` gives the word that facts use: "mum" is kept as `has_mother`.

use super::lexicon::Class;

pub(super) const LISTS: &[(Class, &str)] = &[
    (
        Class::Adverb,
        "asap absolutely ever actually already also always basically both certainly constantly currently \
        definitely even eventually fairly finally fortunately frankly frequently generally gladly honestly just \
        kinda lately literally luckily mainly mostly nearly normally now nowadays occasionally often \
        only originally personally presently pretty probably quite rather really recently regularly \
        seriously simply so sometimes soon still super then thankfully together too totally truly \
        typically usually very already though tho lowkey legit proudly happily highly later",
    ),
    (Class::Subordinate, "when after before while since until once where"),
    (
        Class::Relative,
        "sister sisters brother brothers husband hubby wife spouse partner girlfriend gf boyfriend bf \
        fiance fiancé fiancee fiancée son sons daughter daughters kid kids children grandson \
        granddaughter aunt auntie uncle cousin cousins niece nieces nephew nephews stepson stepdaughter \
        twin stepmother stepfather stepsister stepbrother",
    ),
    (
        Class::Alone,
        "resigned retired graduated volunteered competed performed divorced proposed married volunteer \
        retire graduate travel hike swim run paint cook ski surf draw sing dance read write camp \
        relocate remarry reapply",
    ),
    (
        Class::Opener,
        "and but so because cuz coz although though plus then also well anyway besides however otherwise \
        meanwhile nowadays today yesterday tonight tomorrow recently lately currently now sometimes \
        usually often finally eventually ago morning afternoon evening night day week weekend month year \
        summer winter spring autumn fall time monday tuesday wednesday thursday friday saturday sunday \
        january february march april june july august september october november december glad happy \
        lucky proud grateful thankful yet & fyi btw why reason reasons update note ps edit news fact \
        answer correction reminder info summary story",
    ),
    (
        Class::Hypothesis,
        "if wish wished maybe perhaps imagine suppose supposing pretend unless whether would could might \
        should hypothetically possibly assuming dreamt dreamed dream wonder wondering ought doubt \
        otherwise lest",
    ),
    (Class::Condition, "if unless maybe perhaps might depends depending possibly hopefully"),
    (
        Class::Asks,
        "do does did have has are is am was were can could would will should shall may what what's how \
        how's who who's when where why which any got wanna ever don't isn't aren't",
    ),
    (Class::Finite, "do does did have has are is was were can could will would should shall may"),
    (
        Class::Says,
        "say says said saying tell tells told asked ask asks replied answered wrote writes written \
        shouted whispered claims claimed quote quoted sang sings lyrics",
    ),
    (
        Class::Interjection,
        "ok okay yes yeah yep yup no nope nah oh ah wow hey hi hello thanks thx thank haha lol omg sure \
        great cool nice awesome anyway well right exactly sorry please man dude bro guys welcome btw fyi \
        hmm true indeed congrats congratulations bye absolutely definitely yay woah whoa ugh phew gosh",
    ),
    (
        Class::Boundary,
        "is are was were am be being been has have had do does did can could will would shall should may \
        might must 's but because cuz coz cos so since though although while whereas when whenever where \
        who whom whose which that if unless until till than as i we he she they you it there let let's \
        how what why whether not never cannot yet then which's nor except plus thus hence therefore \
        however gets makes made helps helped keeps feels felt seems seemed meant brings gives \
        looks turns tastes reminds really lately recently once instead anymore too either though \
        together alone again much more most alot especially including like such",
    ),
    (
        Class::Preposition,
        "in on at with for from to of by about into onto over under near around through during after \
        before without within between across along against towards toward via inside outside behind \
        beside next off out up down since until per despite named called titled aged",
    ),
    (
        Class::Determiner,
        "more most much a an the my our your his her its their this that these those some any no every \
        each all both another",
    ),
    (Class::Article, "a an the"),
    (Class::Negative, "no any neither none zero"),
    (Class::Shows, "this that these those"),
    (
        Class::Deictic,
        "it that this these those them him her you your yours yourself they he she his hers its theirs \
        there here something anything everything nothing someone anyone everyone everybody somebody one \
        ones what how when where why who yall y'their so either neither none whatever",
    ),
    (
        Class::Vague,
        "lot lots way ways idea ideas thing things fact bit part kind sort type one ones time times part \
        vibe vibes feeling sound sounds reason point question questions doubt clue moment moments day \
        days life case sense chance change stuff look photo pic picture pictures photos pics positivity \
        attitude enthusiasm energy spirit support story outlook perspective choice message words mess \
        problem problems others people place issue issues chance opportunity options option news trouble \
        ton tons loads bunch safe nice great good bad big small new old beautiful amazing awesome \
        wonderful lovely cute happy sad hard easy simple strong healthy fresh different similar special \
        important little huge tiny warm cold hot cool electronic classical digital creative local \
        positive negative quick real true high low full free calm peaceful quiet busy crazy funny \
        perfect better worse sure ready open closed deep long short few lots alright well ok okay fine \
        hang all both each same then now fun blast everyone all result best most least rest",
    ),
    (
        Class::Kin,
        "mother mom>mother mum>mother mommy>mother mummy>mother mama>mother father dad>father \
        daddy>father papa>father sister sis>sister sisters>sister brother bro>brother brothers>brother \
        husband hubby>husband wife spouse partner girlfriend gf>girlfriend boyfriend bf>boyfriend \
        fiance>fiance fiancé>fiance fiancee>fiancee fiancée>fiancee son sons>son daughter \
        daughters>daughter kid>child child kids>child children>child baby>child grandson granddaughter \
        grandmother grandma>grandmother granny>grandmother nana>grandmother grandfather \
        grandpa>grandfather granddad>grandfather aunt auntie>aunt uncle cousin cousins>cousin niece \
        nieces>niece nephew nephews>nephew stepmother stepmom>stepmother stepfather stepdad>stepfather \
        stepson stepdaughter stepbrother stepsister twin",
    ),
    (
        Class::Friend,
        "friend buddy>friend mate>friend pal>friend bestie>friend friends>friend buddies>friend roommate \
        flatmate>roommate housemate>roommate neighbor neighbour>neighbor colleague coworker>colleague \
        co-worker>colleague boss manager teammate classmate teacher mentor coach therapist doctor",
    ),
    (
        Class::KinKind,
        "best old older oldest elder eldest big little young younger youngest twin close closest good \
        dear childhood late new other own former lovely amazing wonderful beautiful sweet first second \
        middle three two four baby adorable cute in-law ex",
    ),
    (
        Class::Pet,
        "dog dogs>dog puppy puppies>puppy pup>puppy cat cats>cat kitten kittens>kitten kitty>cat rabbit \
        rabbits>rabbit bunny>rabbit hamster hamsters>hamster parrot parrots>parrot budgie budgies>budgie \
        canary bird>bird birds>bird goldfish fish>fish turtle turtles>turtle tortoise snake snakes>snake \
        lizard gecko guinea-pig ferret horse horses>horse pony ponies>pony chicken hen hens>hen goat \
        goats>goat labrador>dog poodle>dog beagle>dog terrier>dog retriever>dog shepherd>dog corgi>dog \
        dachshund>dog husky>dog collie>dog spaniel>dog bulldog>dog tabby>cat pet pets>pet iguana \
        hedgehog axolotl chinchilla parakeet cockatiel pig donkey alpaca",
    ),
    (
        Class::Job,
        "teacher nurse doctor engineer developer programmer designer lawyer attorney accountant architect \
        scientist researcher professor lecturer student writer author journalist editor translator \
        artist painter musician singer actor actress dancer photographer chef cook baker barista waiter \
        waitress bartender driver pilot mechanic electrician plumber carpenter builder farmer gardener \
        florist hairdresser barber cashier salesman saleswoman manager consultant analyst administrator \
        secretary assistant receptionist librarian therapist psychologist psychiatrist counselor \
        counsellor dentist pharmacist veterinarian vet surgeon paramedic firefighter soldier officer \
        policeman policewoman detective judge politician economist banker broker trader entrepreneur \
        founder freelancer contractor coach trainer instructor tutor intern apprentice volunteer \
        streamer blogger youtuber gamer biologist chemist physicist mathematician statistician geologist \
        astronomer historian philosopher sysadmin technician tester director producer coordinator \
        specialist supervisor ceo cto retiree carer caregiver nanny babysitter cleaner janitor courier \
        postman tailor jeweler welder machinist sailor midwife optician physiotherapist beekeeper \
        bookseller shopkeeper clerk auditor recruiter paralegal sculptor illustrator animator composer \
        conductor",
    ),
    (
        Class::Language,
        "english french german spanish italian portuguese dutch norwegian swedish danish finnish \
        icelandic polish czech slovak hungarian romanian bulgarian greek turkish russian ukrainian \
        serbian croatian slovenian albanian arabic hebrew persian farsi hindi urdu bengali tamil telugu \
        punjabi mandarin cantonese chinese japanese korean vietnamese thai indonesian malay tagalog \
        filipino swahili zulu amharic latin esperanto welsh irish gaelic catalan basque estonian latvian \
        lithuanian afrikaans",
    ),
    (
        Class::Nationality,
        "american british english scottish welsh irish french german spanish italian portuguese dutch \
        belgian swiss austrian norwegian swedish danish finnish icelandic polish czech slovak hungarian \
        romanian bulgarian greek turkish russian ukrainian serbian croatian albanian israeli iranian \
        iraqi indian pakistani bangladeshi chinese japanese korean vietnamese thai indonesian malaysian \
        filipino australian canadian mexican brazilian argentinian chilean colombian peruvian cuban \
        nigerian ghanaian kenyan ethiopian egyptian moroccan tunisian algerian lebanese syrian estonian \
        latvian lithuanian",
    ),
    (
        Class::Diet,
        "vegetarian vegan pescatarian flexitarian keto halal kosher gluten-free lactose-intolerant celiac \
        coeliac diabetic teetotal",
    ),
    (
        Class::Religion,
        "christian catholic protestant muslim jewish buddhist hindu sikh atheist agnostic mormon",
    ),
    (Class::Marital, "married engaged divorced single widowed separated"),
    (
        Class::Noun,
        "family families italy supply reply assembly belly jelly ally rally fly butterfly lily july \
        morning evening king ring string spring wing thing something nothing anything everything amazing \
        interesting exciting boring charming wedding ceiling building meeting bring awesome challenging \
        rewarding calming relaxing fulfilling inspiring refreshing clothing earring sibling siblings \
        duckling bed red shed weed seed feed speed need breed hundred seafood daily weekly monthly early \
        friendly lovely lonely silly ugly likely only elderly",
    ),
    (
        Class::Possession,
        "car bike bicycle motorbike motorcycle scooter van truck boat sailboat kayak canoe house flat \
        apartment cottage cabin garden farm piano guitar violin cello drum drums flute trumpet saxophone \
        ukulele keyboard camera laptop computer phone tablet console telescope microscope drone printer \
        3d-printer sewing-machine greenhouse allotment business company shop store cafe restaurant \
        bakery website blog channel podcast tattoo tattoos collection degree license licence passport \
        visa scholarship studio workshop tent caravan campervan skateboard surfboard snowboard treadmill \
        bookshelf library hammock balcony pool aquarium necklace ring watch bookcase",
    ),
    (
        Class::Occasion,
        "meeting concert concerts conference workshop workshops parade show exhibition exhibit festival \
        wedding party class classes course lesson lessons game match tournament race marathon retreat \
        seminar webinar event events gala fair funeral ceremony reunion camp group service lecture talk \
        screening premiere convention hackathon meetup rally protest graduation recital play opera gig \
        interview appointment checkup check-up session sessions dinner picnic barbecue bbq fundraiser \
        auction",
    ),
    (
        Class::Did,
        "done seen taken written eaten driven ridden rode drawn grown achieved accomplished learned \
        learnt went got bought took made met saw visited attended joined started finished completed won \
        ran walked hiked biked cycled swam climbed camped traveled travelled drove flew sailed moved \
        cooked baked built painted drew wrote published read watched played sang danced performed \
        recorded released filmed photographed held hosted organized organised threw celebrated \
        volunteered donated raised helped taught coached mentored studied graduated passed failed \
        enrolled applied interviewed quit resigned retired lost found broke sold rented renovated \
        repaired fixed planted grew adopted rescued fostered created designed developed launched opened \
        founded set signed booked ordered received gave sent brought picked caught ate drank tried had \
        competed participated trained practiced practised explored discovered spent stayed ended began \
        came left returned proposed married divorced injured hurt scored earned reached presented gave \
        spoke spotted ran kicked upgraded redecorated cleaned packed reorganized assembled knitted knit \
        sewed crafted carved sculpted tested hung shared took checked did crashed fell arrived landed \
        skied surfed skated fished fundraised campaigned protested marched interviewed registered \
        subscribed collected caught delivered shot tore twisted sprained fractured hit",
    ),
    (
        Class::Felt,
        "thought felt wanted needed knew believed guessed hoped wished liked loved hated enjoyed \
        preferred wondered meant said told asked seemed looked heard figured realized noticed remembered \
        forgot used appreciated understood agreed decided let kept supposed promised mentioned missed \
        cared worried",
    ),
    (
        Class::Base,
        "go be have get make take do see visit buy attend join start finish run walk hike bike cycle swim \
        climb camp travel drive fly sail move cook bake build paint draw write publish read watch play \
        sing dance perform record film hold host organize organise throw celebrate volunteer donate \
        raise help teach coach mentor study graduate apply quit retire sell rent renovate repair fix \
        plant grow adopt rescue foster create design develop launch open find sign book order send give \
        bring pick catch eat drink try compete participate train practice practise explore discover \
        spend stay leave return marry learn work meet call invite relax rest sleep check keep use put \
        focus pursue improve become live eat jog garden knit sew fish surf ski skate commute meditate \
        pray exercise stretch blog stream code share show enjoy experience win reach turn add host \
        continue bring inspire support spread save hang decorate clean organize order collect promote \
        encourage plan prepare research hit hurt set",
    ),
    (
        Class::Courtesy,
        "let know thank say ask tell hear see remember think believe guess hope mean admit love like \
        congratulate apologize mention wish pass check agree wait understand imagine realize realise \
        notice appreciate feel apologise forget send remind",
    ),
    (
        Class::Inner,
        "enjoying picking caring plowing trusting owing bringing adding starting beginning continuing \
        allowing helping needing figuring checking pushing pulling hitting buying selling sharing \
        setting thinking feeling hoping wondering going being having doing saying meaning getting trying \
        looking dying loving liking wanting needing kidding joking seeing hearing telling talking asking \
        guessing wishing sending letting becoming keeping turning coming leaving assuming worrying \
        missing sounding seeming during according considering regarding putting making giving taking \
        finding facing dealing struggling standing sitting living cutting holding using showing waiting \
        calling referring handling managing",
    ),
    (
        Class::Month,
        "january february march april may june july august september october november december jan feb \
        mar apr jun jul aug sep sept oct nov dec",
    ),
    (
        Class::Weekday,
        "monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thurs fri sat sun",
    ),
    (Class::Unit, "day days week weeks month months year years yrs weekend weekends fortnight"),
    (Class::Count, "one two three four five six seven eight nine ten eleven twelve a an couple few several"),
    (
        Class::Country,
        "germany france spain italy portugal netherlands belgium switzerland austria norway sweden \
        denmark finland iceland ireland scotland wales england uk usa us america canada mexico brazil \
        argentina chile peru colombia cuba japan china korea india pakistan bangladesh vietnam thailand \
        indonesia malaysia philippines australia turkey greece poland czechia slovakia hungary romania \
        bulgaria serbia croatia slovenia albania ukraine russia egypt morocco tunisia algeria nigeria \
        ghana kenya ethiopia israel iran iraq lebanon estonia latvia lithuania alabama alaska arizona \
        arkansas california colorado connecticut delaware florida georgia hawaii idaho illinois indiana \
        iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi \
        missouri montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas utah vermont \
        virginia washington wisconsin wyoming ontario quebec",
    ),
    (
        Class::Date,
        "yesterday today tonight tomorrow last past next coming this the over during at about around on \
        in since for",
    ),
    (
        Class::Frequency,
        "every daily weekly monthly yearly weekends mondays tuesdays wednesdays thursdays fridays \
        saturdays sundays weekdays mornings evenings nightly regularly usually often always sometimes \
        occasionally",
    ),
];
