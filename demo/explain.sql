SELECT * FROM journey.explain(:contact);
