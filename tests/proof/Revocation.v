(** Revocation is complete: once a lineage is revoked, nothing that descends from it is ever valid
    again, though its slot and those of its capabilities are used again. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model Tables Provenance Amplification Lineages.
Import ListNotations.

(** ** The invariant, building block by building block *)

Lemma good_put : forall since s d c s' p, good since s -> put s d c = Some (s', p) ->
  known_origin (pool s) (origin_of c) -> (forall h, In h (history c) -> known (pool s) h) ->
  (forall n, child c = Some n -> live (pool s n) = true /\ lends (pool s n) = false /\
     parent (pool s n) = origin_of c /\ unowned s n) ->
  traced (pool s) (dissolved s) c -> good since s'.
Proof.
  intros since s d c s' p G P O H C T. pose proof (put_held _ _ _ _ _ P) as N.
  apply put_spec in P.
  destruct P as (_ & _ & _ & _ & _ & P & _ & _ & _ & _ & _ & _ & _ & R & D & _).
  destruct G as [g1 g2 g3 g4 g5 g6 g7 g8 g9].
  constructor; rewrite ?P, ?R, ?D; auto.
  - intros q x X. destruct (N _ _ X) as [[-> ->]|]; eauto.
  - intros q x X. destruct (N _ _ X) as [[-> ->]|]; eauto.
  - intros q x n X E. destruct (N _ _ X) as [[-> ->]|]; eauto. destruct (C _ E); tauto.
  - intros q x q' x' n X X' E E'.
    destruct (N _ _ X) as [[-> ->]|Y], (N _ _ X') as [[-> ->]|Y']; auto; [| |eauto].
    + destruct (C _ E) as (_ & _ & _ & U). destruct (U _ _ Y' E').
    + destruct (C _ E') as (_ & _ & _ & U). destruct (U _ _ Y E).
  - intros q x X. destruct (N _ _ X) as [[-> ->]|]; eauto.
Qed.

(** What nobody can revoke is always within the invariant. *)
Lemma good_put_root : forall since s d c s' p, good since s -> put s d c = Some (s', p) ->
  origin_of c = None -> history c = [] -> child c = None -> good since s'.
Proof.
  intros since s d c s' p G P O H C. eapply good_put; eauto.
  - rewrite O. exact I.
  - rewrite H. intros h [].
  - congruence.
  - unfold traced. rewrite O, H. intros _. split; intros h X. destruct X. inversion X.
Qed.

Lemma traced_as : forall p gone c c', traced p gone c -> origin_of c' = origin_of c ->
  history c' = history c -> traced p gone c'.
Proof. intros p gone c c' T O H. unfold traced. rewrite O, H. exact T. Qed.

(** What is made in a lineage below that of [c]. *)
Lemma inside_lineage : forall since s p c n c', good since s -> HeldAt s p c ->
  live (pool s n) = true -> parent (pool s n) = origin_of c ->
  origin_of c' = Some (now_in s n) -> history c' = now_in s n :: history c ->
  known_origin (pool s) (origin_of c') /\ (forall h, In h (history c') -> known (pool s) h) /\
  traced (pool s) (dissolved s) c'.
Proof.
  intros since s p c n c' G A L P O H.
  assert (K : known (pool s) (now_in s n)) by (split; simpl; auto).
  rewrite O, H. split; [exact K|]. split.
  - intros h [<-|X]; auto. eapply good_history; eauto.
  - unfold traced. rewrite O, H. intros V.
    assert (V' : Valid (pool s) (origin_of c)).
    { unfold now_in in V. inversion V; subst. congruence. }
    destruct (good_traced _ _ G _ _ A V') as [B C]. unfold now_in. split; intros h X.
    + destruct X as [<-|X]; [left; apply Chain_here|]. destruct (B h X) as [Y|Y]; auto.
      left. apply Chain_above. rewrite P. exact Y.
    + inversion X; subst; [left; reflexivity|]. right. apply C. congruence.
Qed.

Lemma aside_narrows : forall s s', table s' = table s -> pool s' = pool s ->
  revoked s' = revoked s -> dissolved s' = dissolved s -> narrows s s'.
Proof.
  intros s s' T P R D. repeat split; auto. unfold HeldAt. rewrite T. intros p c H. exists c. auto.
Qed.

Lemma set_content_narrows : forall s p x,
  (forall c', x = Held c' -> exists c, HeldAt s p c /\ origin_of c' = origin_of c /\
     history c' = history c /\ child c' = None) -> narrows s (set_content s p x).
Proof.
  intros s p x H. repeat split; auto. intros p' c'. unfold HeldAt. rewrite table_set_content.
  destruct (place_eq_spec p' p); subst.
  - intros E. destruct (H _ E) as (c & A & B & C & D). exists c. auto.
  - intros E. exists c'. auto.
Qed.

Lemma remove_narrows : forall s p, narrows s (remove s p).
Proof.
  intros s [d slot]. unfold remove.
  destruct (is_occupied (content_of (table s (d, slot)))); auto using narrows_refl.
  repeat split; auto. intros p' c'. unfold HeldAt. simpl.
  destruct (place_eq_spec p' (d, slot)); subst.
  - split_if; simpl; congruence.
  - intros E. exists c'. auto.
Qed.

Lemma remove_empties : forall s p c, ~ HeldAt (remove s p) p c.
Proof.
  intros s [d slot] c. unfold remove, HeldAt.
  destruct (is_occupied (content_of (table s (d, slot)))) eqn:O; simpl.
  - rewrite place_eq_refl. split_if; simpl; congruence.
  - intros E. rewrite E in O. discriminate O.
Qed.

(** A lineage whose owner has let go of it. *)
Lemma unowned_detached : forall since s s' p c n, good since s -> HeldAt s p c ->
  child c = Some n -> narrows s s' -> (forall c', HeldAt s' p c' -> child c' = None) ->
  unowned s' n.
Proof.
  intros since s s' p c n G A N (_ & _ & _ & H) E p' c' X Y.
  destruct (H _ _ X) as (c0 & B & _ & _ & [W|W]); [|congruence].
  assert (p' = p) by (eapply (good_owner _ _ G p' c0 p c n); congruence). subst.
  rewrite (E _ X) in Y. congruence.
Qed.

Lemma good_end_child : forall since s n b, good since s ->
  (forall m, n = Some m -> unowned s m) -> good since (end_child s n b).
Proof.
  intros since s [n|] b G U; simpl; auto. destruct b; auto using good_end, good_dissolve.
Qed.

Lemma good_bury : forall since s p b, good since s -> good since (bury s p b).
Proof.
  intros since s p b G. unfold bury. destruct (content_of (table s p)) eqn:E; auto.
  assert (N : narrows s (set_content s p (Left b (lent held)))).
  { apply set_content_narrows. congruence. }
  apply good_end_child. eapply good_narrows; eauto.
  intros m C. eapply unowned_detached; eauto. unfold HeldAt. intros c'. rewrite table_set_content.
  rewrite place_eq_refl. congruence.
Qed.

Lemma good_fold : forall {A} since (f : state -> A -> state),
  (forall s x, good since s -> good since (f s x)) ->
  forall l s, good since s -> good since (fold_left f l s).
Proof. intros A since f. apply fold_keeps. Qed.

Lemma good_sweep : forall since s, good since s -> good since (sweep s).
Proof.
  intros since s. apply good_fold. intros s' p G. destruct (content_of (table s' p)); auto.
  split_if; auto using good_bury.
Qed.

Lemma good_end_loan : forall since s n, good since s -> good since (end_loan s n).
Proof.
  intros since s [n|] G; simpl; auto. destruct (lends (pool s n)) eqn:L; auto.
  apply good_sweep. apply good_end; auto. intros p c A C.
  destruct (good_child _ _ G _ _ _ A C) as (_ & L' & _). congruence.
Qed.

Lemma good_release : forall since s p, good since s -> good since (release s p).
Proof.
  intros since s p G. unfold release. pose proof (remove_narrows s p) as N.
  destruct (content_of (table s p)) eqn:E; auto; apply good_end_loan.
  - apply good_end_child. eapply good_narrows; eauto. intros m C.
    eapply unowned_detached; eauto. intros c' X. destruct (remove_empties _ _ _ X).
  - eapply good_narrows; eauto.
Qed.

Lemma good_end_thing : forall since s n, good since s -> good since (end_thing s n).
Proof.
  intros since s n G. unfold end_thing. split_if; auto.
  eapply good_narrows; eauto. apply aside_narrows; auto.
Qed.

Lemma good_bury_owned : forall since s d b, good since s -> good since (bury_owned s d b).
Proof.
  intros since s d b. apply good_fold. intros s' p G. cbv beta zeta.
  destruct (content_of (table s' p)); auto. split_if; auto using good_bury.
Qed.

Lemma good_end_domain : forall since s d, good since s -> good since (end_domain s d).
Proof.
  intros since s d G. unfold end_domain.
  set (called := bury_owned s d true).
  assert (G1 : good since called) by (apply good_bury_owned; auto).
  set (dropped := fold_left release (places_of called d) called).
  assert (G2 : good since dropped) by (apply good_fold; auto using good_release).
  eapply good_narrows with (bury_owned dropped d false); [apply aside_narrows; auto|].
  apply good_bury_owned; auto.
Qed.

(** ** Operation by operation *)

Lemma finish_cases : forall s s1 d c s2 r, finish s s1 d c = (s2, r) ->
  s2 = s \/ exists p, put s1 d c = Some (s2, p).
Proof.
  intros s s1 d c s2 r. unfold finish. destruct (put s1 d c) as [[s3 p]|]; intros H;
  inversion H; subst; eauto.
Qed.

Lemma good_new_thing : forall since s d k b s', good since s -> new_thing s d k b = Some s' ->
  good since s' /\ table s' = table s /\ pool s' = pool s.
Proof.
  intros since s d k b s' G. unfold new_thing. split_if; try congruence.
  intros H; inversion H; subst. split; [|split; reflexivity].
  eapply good_narrows; eauto. apply aside_narrows; auto.
Qed.

Lemma good_new_grant : forall since s r, good since s -> good since (new_grant s r).
Proof. intros. eapply good_narrows; eauto. apply aside_narrows; auto. Qed.

Lemma good_create : forall since s d k s' x, good since s -> create s d k = (s', x) ->
  good since s'.
Proof.
  intros since s d k s' x G H. unfold create in H.
  destruct k; try (inversion H; subst; exact G);
  match type of H with context [new_thing s d ?k false] =>
    destruct (new_thing s d k false) as [s1|] eqn:T; [|inversion H; subst; exact G] end;
  apply (good_new_thing since) in T; auto; destruct T as [G1 _];
  apply finish_cases in H; destruct H as [-> | [p P]]; auto;
  (eapply good_put_root; [|exact P| | |]; auto using good_new_grant).
Qed.

Lemma good_set_child : forall since s p c n, good since s -> HeldAt s p c -> child c = None ->
  unowned s n -> live (pool s n) = true -> lends (pool s n) = false ->
  parent (pool s n) = origin_of c -> good since (set_content s p (Held (with_child c (Some n)))).
Proof.
  intros since s p c n G A C U L F P.
  assert (H : forall q x, HeldAt (set_content s p (Held (with_child c (Some n)))) q x ->
    (q = p /\ x = with_child c (Some n)) \/ (q <> p /\ HeldAt s q x)).
  { intros q x. unfold HeldAt. rewrite table_set_content. destruct (place_eq_spec q p); auto.
    intros E. inversion E. auto. }
  destruct G as [g1 g2 g3 g4 g5 g6 g7 g8 g9]. constructor; auto.
  - intros q x X. destruct (H _ _ X) as [[-> ->]|[_ Y]]; simpl; eauto.
  - intros q x X. destruct (H _ _ X) as [[-> ->]|[_ Y]]; simpl; eauto.
  - intros q x m X E. destruct (H _ _ X) as [[-> ->]|[_ Y]]; simpl in *; eauto.
    inversion E; subst. auto.
  - intros q x q' x' m X X' E E'.
    destruct (H _ _ X) as [[-> ->]|[_ Y]], (H _ _ X') as [[-> ->]|[_ Y']]; auto; simpl in *.
    + exfalso. apply (U _ _ Y'). congruence.
    + exfalso. apply (U _ _ Y). congruence.
    + eapply (g8 q x q' x'); eauto.
  - intros q x X. destruct (H _ _ X) as [[-> ->]|[_ Y]]; simpl; eauto.
    eapply traced_as; [apply (g9 _ _ A) | |]; auto.
Qed.

Lemma good_child_of : forall since s d p c s' n, good since s -> HeldAt s p c ->
  child_of s d p c = inl (s', n) ->
  good since s' /\ live (pool s' n) = true /\ parent (pool s' n) = origin_of c /\
  exists c1, HeldAt s' p c1 /\ origin_of c1 = origin_of c /\ history c1 = history c.
Proof.
  intros since s d p c s' n G A. unfold child_of. destruct (child c) as [m|] eqn:C.
  - intros H; inversion H; subst. destruct (good_child _ _ G _ _ _ A C) as (L & _ & P).
    split; [exact G|]. split; [exact L|]. split; [exact P|]. exists c. auto.
  - destruct (make_lineage s (origin_of c) d false) as [[s1 m]|] eqn:M; try congruence.
    intros H; inversion H; subst; clear H.
    assert (T : table s1 = table s) by (apply make_lineage_table in M; tauto).
    assert (A1 : HeldAt s1 p c) by (unfold HeldAt; rewrite T; exact A).
    eapply good_make in M; eauto using good_origin. destruct M as (G1 & U & L & F & P).
    split; [apply good_set_child; auto|]. split; [exact L|]. split; [exact P|].
    exists (with_child c (Some n)). unfold HeldAt. rewrite table_set_content, place_eq_refl. auto.
Qed.

Lemma good_put_alike : forall since s d c c' s' p q, good since s -> HeldAt s q c ->
  put s d c' = Some (s', p) -> origin_of c' = origin_of c -> history c' = history c ->
  child c' = None -> good since s'.
Proof.
  intros since s d c c' s' p q G A P O H C. eapply good_put; eauto.
  - rewrite O. eapply good_origin; eauto.
  - rewrite H. eapply good_history; eauto.
  - congruence.
  - eapply traced_as; eauto. eapply good_traced; eauto.
Qed.

Lemma good_put_inside : forall since s d c c' s' p q n, good since s -> HeldAt s q c ->
  put s d c' = Some (s', p) -> live (pool s n) = true -> parent (pool s n) = origin_of c ->
  origin_of c' = Some (now_in s n) -> history c' = now_in s n :: history c -> child c' = None ->
  good since s'.
Proof.
  intros since s d c c' s' p q n G A P L E O H C.
  destruct (inside_lineage _ _ _ _ _ _ G A L E O H) as (K & K' & T).
  eapply good_put; eauto. congruence.
Qed.

Lemma good_derive : forall since s d h r b s' x, good since s -> derive s d h r b = (s', x) ->
  good since s'.
Proof.
  intros since s d h r b s' x G H. unfold derive in H.
  destruct (usable s d h (N.lor DERIVE r)) as [c|] eqn:U; [|inversion H; subst; exact G].
  apply usable_spec in U. destruct U as (A & _).
  destruct (negb (has_room s d 1)); [inversion H; subst; exact G|].
  destruct b.
  - destruct (child_of s d (place_of d h) c) as [[s1 n]|] eqn:C; [|inversion H; subst; exact G].
    eapply good_child_of in C; eauto. destruct C as (G1 & L & P & c1 & A1 & O1 & H1).
    apply finish_cases in H. destruct H as [-> | [p Q]]; auto.
    eapply good_put_inside with (c := c1); eauto; simpl; congruence.
  - apply finish_cases in H. destruct H as [-> | [p Q]]; auto.
    eapply good_put_alike with (c := c); eauto.
Qed.

Lemma good_revoke : forall since s d h s' x, good since s -> revoke s d h = (s', x) ->
  good since s'.
Proof.
  intros since s d h s' x G H. unfold revoke in H.
  destruct (usable s d h DERIVE) as [c|] eqn:U; [|inversion H; subst; exact G].
  apply usable_spec in U. destruct U as (A & _).
  destruct (child c) as [n|] eqn:C; inversion H; subst; auto.
  apply good_sweep.
  assert (N : narrows s (set_content s (place_of d h) (Held (with_child c None)))).
  { apply set_content_narrows. intros c' E. inversion E; subst. exists c. auto. }
  apply good_end; [eapply good_narrows; eauto|].
  eapply unowned_detached; eauto. intros c'. unfold HeldAt, place_of. rewrite table_set_content.
  rewrite place_eq_refl. intros E. inversion E. reflexivity.
Qed.

Lemma good_mint : forall since s d h r s' x, good since s -> mint s d h r = (s', x) ->
  good since s'.
Proof.
  intros since s d h r s' x G H. unfold mint in H.
  destruct (usable s d h RECEIVE) as [c|] eqn:U; [|inversion H; subst; exact G].
  apply usable_spec in U. destruct U as (A & _).
  destruct (negb _); [inversion H; subst; exact G|].
  apply finish_cases in H. destruct H as [-> | [p Q]]; auto.
  eapply good_put_alike with (c := c);
  [apply good_new_grant; eauto | exact A | exact Q | | |]; auto.
Qed.

Lemma good_give : forall since s d g c e s' p, good since s -> givable s d g = inl c ->
  give s d g c e = Some (s', p) -> good since s'.
Proof.
  intros since s d g c e s' p G U H. apply givable_spec in U. destruct U as (A & _).
  unfold give in H. destruct (copied g).
  - eapply good_put_alike with (c := c); eauto.
  - pose proof (remove_narrows s (place_of d (given g))) as N. pose proof N as (P & _ & D & _).
    eapply good_put; [eapply good_narrows; eauto | exact H | | | |]; rewrite ?P, ?D; simpl.
    + eapply good_origin; eauto.
    + eapply good_history; eauto.
    + intros n C. destruct (good_child _ _ G _ _ _ A C) as (? & ? & ?).
      repeat split; auto. eapply unowned_detached; eauto. intros c' X.
      destruct (remove_empties _ _ _ X).
    + eapply traced_as; [eapply good_traced; eauto | |]; auto.
Qed.

Lemma good_transfer : forall since s d h g e h' s' x, good since s ->
  transfer s d h g e h' = (s', x) -> good since s'.
Proof.
  intros since s d h g e h' s' x G H. unfold transfer in H.
  destruct (usable s d h SEND) as [w|] eqn:W; [|inversion H; subst; exact G].
  destruct (usable s e h' RECEIVE) as [m|] eqn:M; [|inversion H; subst; exact G].
  destruct (givable s d g) as [c|] eqn:C; [|inversion H; subst; exact G].
  destruct (is_way w m); simpl in H; [|inversion H; subst; exact G].
  destruct (has_room s e 1); simpl in H; [|inversion H; subst; exact G].
  destruct (give s d g c e) as [[s1 p]|] eqn:Q; inversion H; subst; auto.
  eapply good_give; eauto.
Qed.

Lemma good_answer : forall since s d h g s' x, good since s -> answer s d h g = (s', x) ->
  good since s'.
Proof.
  intros since s d h g s' x G H. unfold answer in H.
  destruct (match g with Some g => _ | None => false end); [inversion H; subst; exact G|].
  destruct (find_handle s d (fst h) (snd h)) as [[]|]; try (inversion H; subst; exact G).
  - destruct (negb _); [inversion H; subst; exact G|].
    destruct (answer_with s d g _) as [[s1 handles]|] eqn:A; [|inversion H; subst; exact G].
    assert (G1 : good since s1).
    { unfold answer_with in A. destruct g as [g|]; [|inversion A; subst; exact G].
      destruct (givable s d g) as [c|] eqn:C; [|congruence].
      destruct (negb _); [inversion A; subst; exact G|].
      destruct (give s d g c _) as [[s2 p]|] eqn:Q; inversion A; subst.
      eapply good_give; eauto. }
    destruct (is_valid s (origin_of held)); inversion H; subst; apply good_release; auto.
  - destruct g as [g|]; [destruct (givable s d g)|]; inversion H; subst;
    try apply good_release; exact G.
Qed.

Lemma good_deliver : forall since s d e l s' x, good since s -> deliver s s d e l = (s', x) ->
  (forall c r, l = Some (c, r) -> exists i, HeldAt s (d, i) c) -> good since s'.
Proof.
  intros since s d e l s' x G H A. unfold deliver in H. cbv zeta beta in H.
  destruct (new_thing s d Reply false) as [s1|] eqn:T; [|inversion H; subst; exact G].
  apply (good_new_thing since) in T; auto. destruct T as (G1 & T1 & P1).
  destruct l as [[c r]|].
  - destruct (A c r eq_refl) as [i B].
    destruct (make_lineage s1 (origin_of c) d true) as [[s2 n]|] eqn:M;
    [|inversion H; subst; exact G].
    assert (T2 : table s2 = table s1) by (apply make_lineage_table in M; tauto).
    eapply good_make in M; eauto; [|rewrite P1; eapply good_origin; eauto].
    destruct M as (G2 & U & L & _ & P2).
    destruct (put s2 e _) as [[s3 p]|] eqn:P; [|inversion H; subst; exact G].
    assert (G3 : good since s3).
    { eapply good_put_inside with (c := c); [exact G2 | | exact P | exact L | exact P2 | | |]; auto.
      unfold HeldAt. rewrite T2, T1. exact B. }
    destruct (put (new_grant s3 TRANSFER) e _) as [[s4 p']|] eqn:P'; inversion H; subst; auto.
    eapply good_put_root; [|exact P'| | |]; auto using good_new_grant.
  - destruct (put (new_grant s1 TRANSFER) e _) as [[s4 p']|] eqn:P'; inversion H; subst; auto.
    eapply good_put_root; [|exact P'| | |]; auto using good_new_grant.
Qed.

Lemma good_call : forall since s d h l e h' s' x, good since s -> call s d h l e h' = (s', x) ->
  good since s'.
Proof.
  intros since s d h l e h' s' x G H. unfold call in H.
  destruct (usable s d h CALL) as [w|]; [|inversion H; subst; exact G].
  destruct (usable s e h' RECEIVE) as [m|]; [|inversion H; subst; exact G].
  destruct (lendable s d l) as [out|] eqn:C; [|inversion H; subst; exact G].
  destruct (is_way w m); simpl in H; [|inversion H; subst; exact G].
  eapply good_deliver; eauto. intros c r ->. apply lendable_spec in C.
  destruct C as (i & ? & _). eauto.
Qed.

Lemma good_step : forall since s o, good since s -> good since (fst (step s o)).
Proof.
  intros since s o G. unfold step. destruct (running s (actor o)); [|exact G].
  destruct (perform s o) as [s' x] eqn:P. simpl.
  enough (G' : good since s') by (apply (good_fold since end_thing); auto using good_end_thing).
  destruct o; unfold perform in P.
  - eapply good_create; eauto.
  - eapply good_derive; eauto.
  - eapply good_revoke; eauto.
  - unfold drop in P. destruct (find_handle _ _ _ _); inversion P; subst; auto using good_release.
  - eapply good_mint; eauto.
  - eapply good_transfer; eauto.
  - eapply good_call; eauto.
  - eapply good_answer; eauto.
  - inversion P; subst. apply good_end_domain; auto.
Qed.

Lemma good_run : forall since operations s, good since s -> good since (run s operations).
Proof.
  intros since operations. unfold run. induction operations; simpl; auto using good_step.
Qed.

Lemma good_boot : forall sizes planned, good [] (boot sizes planned).
Proof.
  intros. unfold boot. apply good_fold.
  - intros s [d k|d number r] G; unfold plan.
    + destruct (new_thing s d k true) as [s'|] eqn:T; auto.
      eapply good_new_thing in T; eauto. tauto.
    + destruct (number <? next_thing s); auto. cbv zeta.
      destruct (finish _ _ _ _) as [s' x] eqn:F. apply finish_cases in F. simpl.
      destruct F as [-> | [p P]]; auto.
      eapply good_put_root; [|exact P| | |]; auto using good_new_grant.
  - constructor; simpl; try (intros p c H; destruct (empty_held _ _ _ H)); try tauto.
    + intros h [].
    + intros p c n H. destruct (empty_held _ _ _ H).
    + intros p c p' c' n H. destruct (empty_held _ _ _ H).
Qed.

(** ** The theorem *)

Lemma revoked_is_invalid : forall since s p c h, good since s -> In h (revoked s) ->
  HeldAt s p c -> In h (history c) -> is_valid s (origin_of c) = false.
Proof.
  intros since s p c h G R A H. destruct (is_valid s (origin_of c)) eqn:V; auto.
  apply is_valid_sound in V. destruct (good_traced _ _ G _ _ A V) as [T _].
  destruct (T _ H) as [C|D].
  - apply chain_current in C; auto. assert (E : has_ended (pool s) h) by (eapply good_ended; eauto).
    unfold has_ended in E. lia.
  - destruct (good_once _ _ G _ R D).
Qed.

Lemma revoke_notes : forall since s d h c n, good since s -> HeldAt s (d, fst h) c ->
  child c = Some n -> snd (step s (Revoke d h)) = Done ->
  In (now_in s n) (revoked (fst (step s (Revoke d h)))).
Proof.
  intros since s d h c n G A C X. unfold step in *. simpl in *.
  destruct (running s d); [|discriminate X].
  destruct (revoke s d h) as [s' x] eqn:R. simpl in *. subst x.
  unfold revoke in R. destruct (usable s d h DERIVE) as [c0|y] eqn:U.
  2: { inversion R; subst. unfold usable in U. destruct (find_handle _ _ _ _) as [[]|];
       repeat match type of U with context [if ?b then _ else _] => destruct b end; congruence. }
  apply usable_spec in U. destruct U as (A0 & _). unfold HeldAt in *.
  assert (c0 = c) by congruence. subst c0. rewrite C in R. inversion R; subst; clear R.
  assert (L : live (pool s n) = true) by (destruct (good_child _ _ G _ _ _ A C); tauto).
  set (orphaned := set_content s (place_of d h) (Held (with_child c None))).
  assert (N : narrows s orphaned).
  { apply set_content_narrows. intros c' E. inversion E; subst. exists c. auto. }
  assert (G1 : good [now_in s n] (end_lineage orphaned n)).
  { assert (G2 : good since (end_lineage orphaned n)).
    { apply good_end; [eapply good_narrows; eauto|]. eapply unowned_detached; eauto.
      intros c'. unfold HeldAt, orphaned, place_of. rewrite table_set_content, place_eq_refl.
      intros E. inversion E. reflexivity. }
    destruct G2. constructor; auto. intros h' [<-|[]]. unfold end_lineage. simpl. rewrite L.
    left. reflexivity. }
  assert (G2 : good [now_in s n] (reap (sweep (end_lineage orphaned n)))).
  { apply good_fold; auto using good_end_thing, good_sweep. }
  apply (good_since _ _ G2). left. reflexivity.
Qed.

(** Whatever happens before and after: when [d] has revoked through its capability [c] what was
    derived from it (in lineage [n], at its version of then), no capability that descends from that
    passes a check any more. *)
Theorem revocation_complete : forall sizes planned before after d h c n,
  let s := run (boot sizes planned) before in
  let s' := run (fst (step s (Revoke d h))) after in
  HeldAt s (d, fst h) c -> child c = Some n -> snd (step s (Revoke d h)) = Done ->
  forall p c', HeldAt s' p c' -> In (now_in s n) (history c') ->
  is_valid s' (origin_of c') = false.
Proof.
  intros sizes planned before after d h c n s s' A C X p c' A' H.
  assert (G : good [] s) by (apply good_run, good_boot).
  pose proof (revoke_notes _ _ _ _ _ _ G A C X) as I.
  assert (G1 : good [now_in s n] (fst (step s (Revoke d h)))).
  { apply (good_step _ _ (Revoke d h)) in G. destruct G. constructor; auto.
    intros h' [<-|[]]. exact I. }
  assert (G2 : good [now_in s n] s') by (apply good_run; auto).
  eapply revoked_is_invalid; eauto. apply (good_since _ _ G2). left. reflexivity.
Qed.

(** So no use of it succeeds. *)
Corollary revoked_is_unusable : forall sizes planned before after d h c n,
  let s := run (boot sizes planned) before in
  let s' := run (fst (step s (Revoke d h))) after in
  HeldAt s (d, fst h) c -> child c = Some n -> snd (step s (Revoke d h)) = Done ->
  forall e h' needed c', usable s' e h' needed = inl c' -> ~ In (now_in s n) (history c').
Proof.
  intros sizes planned before after d h c n s s' A C X e h' needed c' U H.
  apply usable_spec in U. destruct U as (A' & V & _).
  assert (F : is_valid s' (origin_of c') = false).
  { exact (revocation_complete _ _ _ _ _ _ _ _ A C X _ _ A' H). }
  rewrite V in F. discriminate F.
Qed.

(** The history of what is valid is complete: it names all that the check walks through. So what is
    in a lineage when it is revoked, as the check sees it, is among what the theorem speaks of. *)
Theorem history_complete : forall sizes planned operations p c h,
  let s := run (boot sizes planned) operations in
  HeldAt s p c -> is_valid s (origin_of c) = true -> Chain (pool s) (origin_of c) h ->
  In h (history c).
Proof.
  intros sizes planned operations p c h s A V C.
  assert (G : good [] s) by (apply good_run, good_boot).
  apply is_valid_sound in V. destruct (good_traced _ _ G _ _ A V) as [_ T]. auto.
Qed.
