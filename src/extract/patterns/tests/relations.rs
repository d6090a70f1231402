//! One table per family of relations.

use super::check;

#[test]
fn who_somebody_is() {
    check(&[
        ("My name is Anna.", "name: Anna"),
        ("my name is anna", "name: anna"),
        ("Call me Bo", "name: Bo"),
        ("I'm Anna and I'm 29", "name: Anna; age: 29"),
        ("I’m 34 years old", "age: 34"),
        ("I just turned 40!", "age: 40"),
        ("My birthday is on August 14th", "birthday: 14 August"),
        ("I was born on 3 May 1990 in Graz", "born: 3 May 1990"),
        ("I was born in 1990", "born: 1990"),
        ("I'm Dutch", "nationality: Dutch"),
        ("I'm married to Paul", "married_to: Paul"),
        ("I speak English, French and a little German", "speaks: English; speaks: French; speaks: German"),
        ("I'm fluent in Swedish & Finnish", "speaks: Swedish; speaks: Finnish"),
        ("I'm vegetarian and allergic to peanuts", "diet: vegetarian; allergic_to: peanuts"),
        ("I don't eat pork", "avoids: pork"),
    ]);
}

#[test]
fn where_somebody_lives() {
    check(&[
        ("I live in Berlin with my flatmate", "lives_in: Berlin"),
        ("i live in berlin and i like jazz", "lives_in: berlin; likes: jazz"),
        ("I'm living in Rio de Janeiro now", "lives_in: Rio de Janeiro"),
        ("We moved to Portland, Oregon last year", "lives_in: Portland, Oregon"),
        ("I live in a small town near Bergen", "lives_in: small town near Bergen"),
        ("I'm originally from Spain 🇪🇸", "from: Spain"),
        ("I grew up in Leeds", "grew_up_in: Leeds"),
    ]);
}

#[test]
fn what_somebody_works_and_learns() {
    check(&[
        ("I work for Siemens as a mechanical engineer", "works_at: Siemens"),
        ("I'm a nurse at St. Olav Hospital", "works_as: nurse; works_at: St. Olav Hospital"),
        ("I work as a baker", "works_as: baker"),
        ("I'm a German teacher", "works_as: German teacher"),
        ("I work in logistics", "works_in: logistics"),
        ("I study marine biology", "studies: marine biology"),
        ("I'm a student at Lund University", "studies_at: Lund University"),
        ("I'm learning the guitar", "learns: guitar"),
        ("I'm learning to play the guitar", "learns: play the guitar"),
    ]);
}

#[test]
fn family_friends_and_animals() {
    check(&[
        ("This is for my sister Anna", "has_sister: Anna"),
        ("My younger sister, Anna, called", "has_sister: Anna"),
        ("My brother's name is Tom", "has_brother: Tom"),
        ("Tom is my best friend", "has_friend: Tom"),
        ("My mum is called Ruth", "has_mother: Ruth"),
        ("my kids Leo, Mia and Bo are funny", "has_child: Leo; has_child: Mia; has_child: Bo"),
        ("I have two sons and a dog", "has_pet: dog; has_family: two sons"),
        ("My wife is at work", "has_family: wife"),
        ("My grandmother passed away last week", "lost: grandmother"),
        ("our dogs Ada and Bix", "has_dog: Ada; has_dog: Bix"),
        ("I adopted a kitten named Pip", "has_kitten: Pip"),
        ("I walk my dog", "has_pet: dog"),
    ]);
}

#[test]
fn tastes() {
    check(&[
        ("I like tea and cake", "likes: tea; likes: cake"),
        ("I love sailing with aunts and uncles", "likes: sailing with aunts and uncles"),
        (
            "We enjoy tea, cake and long walks by the sea.",
            "likes: tea; likes: cake; likes: long walks by the sea",
        ),
        ("I love to sing in the shower", "likes: sing in the shower"),
        ("I don't like fish, and I hate mushrooms.", "dislikes: fish; dislikes: mushrooms"),
        ("I'm not a fan of jazz", "dislikes: jazz"),
        ("My favorite color is blue", "favorite_color: blue"),
        ("My favourite foods are ramen, sushi and tacos", "favorite_foods: ramen, sushi and tacos"),
        ("My favourite book is \"Dune\"", "favorite_book: Dune"),
        ("Harry Mulisch is my favorite author", "favorite_author: Harry Mulisch"),
        ("I'm afraid of spiders", "fears: spiders"),
    ]);
}

#[test]
fn belongings_and_pastimes() {
    check(&[
        ("I have a car and two bikes", "has: car; has: two bikes"),
        ("I own a blue canoe", "has: blue canoe"),
        ("I've been painting for seven years", "does: painting"),
        ("I started pottery classes", "started: pottery classes"),
        ("I run every morning", "does: run every morning"),
        ("I play the accordion", "plays: accordion"),
        ("I'm reading \"Emma\" by Jane Austen", "does: reading \"Emma\" by Jane Austen"),
    ]);
}

#[test]
fn what_happened_and_what_is_planned() {
    check(&[
        ("We visited Rome last weekend and bought a map", "visited: Rome; bought: map"),
        ("I went to a concert yesterday", "attended: concert"),
        ("I joined a choir in 2019", "joined: choir"),
        ("Bought a new bike yesterday!", "bought: new bike"),
        ("I baked a rye bread", "made: rye bread"),
        ("Yesterday I drove the twins to the harbour", "did: drove the twins to the harbour"),
        ("I'm flying to Lisbon next Friday", "plans: flying to Lisbon"),
        ("I'm going to buy a boat", "plans: buy a boat"),
        ("We're planning a trip to Norway", "plans: trip to Norway"),
        ("I have an appointment on 3 May", "plans: appointment"),
        ("I will be in Madrid tomorrow", "plans: be in Madrid"),
        ("I want to open a gallery", "wants_to: open a gallery"),
        ("I'm looking forward to the holidays", "looks_forward_to: holidays"),
    ]);
}

#[test]
fn how_somebody_is_reached() {
    check(&[
        ("my email is sam.okoro@mail.example.", "email: sam.okoro@mail.example"),
        (
            "You can reach me at a.b@example.org or call me on +49 170 1234567.",
            "email: a.b@example.org; phone: +49 170 1234567",
        ),
        ("My phone number is (555) 123-4567", "phone: (555) 123-4567"),
        ("My website is https://anna.example.org/blog.", "website: https://anna.example.org/blog"),
        ("Please write to info@example.org", ""),
        ("my number is 12", ""),
    ]);
}

#[test]
fn other_people_by_name() {
    check(&[
        ("Anna lives in Oslo", "Anna lives_in: Oslo"),
        ("My sister Anna lives in Oslo", "has_sister: Anna; Anna lives_in: Oslo"),
        ("Elias works at the harbour office", "Elias works_at: harbour office"),
        ("Rui is from Braga, and Mia Berg speaks Dutch", "Rui from: Braga; Mia Berg speaks: Dutch"),
        ("She lives in Oslo", ""),
    ]);
}
