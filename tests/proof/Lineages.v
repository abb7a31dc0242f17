(** What lineages guarantee, and that their building blocks keep it. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model Tables.
Import ListNotations.

(** ** Chains *)

(** Nothing up the chain was revoked since. Without the bound of [valid_within]. *)
Inductive Valid (p : nat -> lineage) : origin -> Prop :=
  | Valid_root : Valid p None
  | Valid_below n v : version (p n) = v -> Valid p (parent (p n)) -> Valid p (Some (n, v)).

(** [h] is in the chain of an origin. *)
Inductive Chain (p : nat -> lineage) : origin -> incarnation -> Prop :=
  | Chain_here h : Chain p (Some h) h
  | Chain_above n v h : Chain p (parent (p n)) h -> Chain p (Some (n, v)) h.

Lemma valid_within_sound : forall fuel p o, valid_within fuel p o = true -> Valid p o.
Proof.
  induction fuel; intros p [[n v]|]; simpl; try congruence; try constructor.
  - apply andb_prop in H. apply Nat.eqb_eq. tauto.
  - apply andb_prop in H. apply IHfuel. tauto.
Qed.

Lemma is_valid_sound : forall s o, is_valid s o = true -> Valid (pool s) o.
Proof. intros s o. apply valid_within_sound. Qed.

(** A valid chain names each of its lineages at its version. *)
Lemma chain_current : forall p o h, Chain p o h -> Valid p o -> version (p (fst h)) = snd h.
Proof.
  intros p o h C. induction C; intros V; inversion V; subst; auto.
Qed.

(** An incarnation that there was: of an earlier version, or of this one, which is then in use. *)
Definition known (p : nat -> lineage) (h : incarnation) : Prop :=
  snd h <= version (p (fst h)) /\ (snd h = version (p (fst h)) -> live (p (fst h)) = true).

Definition known_origin (p : nat -> lineage) (o : origin) : Prop :=
  match o with None => True | Some h => known p h end.

Definition has_ended (p : nat -> lineage) (h : incarnation) : Prop :=
  snd h < version (p (fst h)).

(** ** The invariant *)

(** What is written in a capability's history, and what is in its chain. *)
Definition traced (p : nat -> lineage) (gone : list incarnation) (c : capability) : Prop :=
  Valid p (origin_of c) ->
  (forall h, In h (history c) -> Chain p (origin_of c) h \/ In h gone)
  /\ (forall h, Chain p (origin_of c) h -> In h (history c)).

(** [since] are incarnations that were revoked earlier. *)
Record good (since : list incarnation) (s : state) : Prop := {
  good_since : incl since (revoked s);
  good_origin : forall p c, HeldAt s p c -> known_origin (pool s) (origin_of c);
  good_history : forall p c, HeldAt s p c -> forall h, In h (history c) -> known (pool s) h;
  good_parent : forall n, known_origin (pool s) (parent (pool s n));
  good_ended : forall h, In h (revoked s) \/ In h (dissolved s) -> has_ended (pool s) h;
  good_once : forall h, In h (revoked s) -> ~ In h (dissolved s);
  good_child : forall p c n, HeldAt s p c -> child c = Some n ->
    live (pool s n) = true /\ lends (pool s n) = false /\ parent (pool s n) = origin_of c;
  good_owner : forall p c p' c' n, HeldAt s p c -> HeldAt s p' c' ->
    child c = Some n -> child c' = Some n -> p = p';
  good_traced : forall p c, HeldAt s p c -> traced (pool s) (dissolved s) c
}.

Definition unowned (s : state) (n : nat) : Prop := forall p c, HeldAt s p c -> child c <> Some n.

(** A change that lineages do not notice. *)
Definition narrows (s s' : state) : Prop :=
  pool s' = pool s /\ revoked s' = revoked s /\ dissolved s' = dissolved s /\
  forall p c', HeldAt s' p c' -> exists c, HeldAt s p c /\ origin_of c' = origin_of c /\
    history c' = history c /\ (child c' = child c \/ child c' = None).

Lemma good_narrows : forall since s s', narrows s s' -> good since s -> good since s'.
Proof.
  intros since s s' (P & R & D & H) [A B C E F G I J K].
  constructor; rewrite ?P, ?R, ?D; auto.
  - intros p c' X. destruct (H _ _ X) as (c & Y & O & _). rewrite O. eauto.
  - intros p c' X. destruct (H _ _ X) as (c & Y & _ & Z & _). rewrite Z. eauto.
  - intros p c' n X N. destruct (H _ _ X) as (c & Y & O & _ & [W|W]); rewrite W in N;
    try congruence. rewrite O. eauto.
  - intros p c p' c' n X X' N N'. destruct (H _ _ X) as (c0 & Y & _ & _ & [W|W]); try congruence.
    destruct (H _ _ X') as (c1 & Y' & _ & _ & [W'|W']); try congruence.
    apply (J p c0 p' c1 n); congruence.
  - intros p c' X. destruct (H _ _ X) as (c & Y & O & Z & _). unfold traced. rewrite O, Z.
    apply (K _ _ Y).
Qed.

Lemma narrows_refl : forall s, narrows s s.
Proof. intros. repeat split; auto. intros p c H. exists c. auto. Qed.

Lemma unowned_narrows : forall s s' n, narrows s s' -> unowned s n -> unowned s' n.
Proof.
  intros s s' n (_ & _ & _ & H) U p c X. destruct (H _ _ X) as (c0 & Y & _ & _ & [W|W]);
  rewrite W; try congruence. eauto.
Qed.

(** ** A new lineage *)

Lemma make_lineage_spec : forall s o d b s' n, make_lineage s o d b = inl (s', n) ->
  live (pool s n) = false /\
  pool s' = update (pool s) n (Lineage (version (pool s n)) true o d b) /\
  revoked s' = revoked s /\ dissolved s' = dissolved s /\ table s' = table s /\
  n < lineage_pool (sizes s) /\ charged s d < lineage_quota (sizes s) d /\
  charged s' = update (charged s) d (S (charged s d)) /\ sizes s' = sizes s.
Proof.
  intros s o d b s' n. unfold make_lineage. split_if; try congruence.
  destruct (lineage_quota (sizes s) d <=? charged s d) eqn:Q; try congruence.
  destruct (find _ _) as [m|] eqn:F; try congruence.
  intros H; inversion H; subst; clear H. apply find_some in F. destruct F as [I L].
  apply negb_true_iff in L. apply in_seq in I. apply Nat.leb_gt in Q. repeat split; auto. lia.
Qed.

Section NewLineage.
  Variables (p : nat -> lineage) (n : nat) (o : origin) (d : nat) (b : bool).
  Hypothesis unused : live (p n) = false.
  Let p' := update p n (Lineage (version (p n)) true o d b).

  Lemma new_version : forall m, version (p' m) = version (p m).
  Proof. intros m. unfold p', update. destruct (Nat.eqb_spec m n); subst; auto. Qed.

  Lemma new_live : forall m, live (p m) = true -> live (p' m) = true.
  Proof. intros m L. unfold p', update. destruct (Nat.eqb_spec m n); subst; auto. Qed.

  Lemma new_other : forall m, m <> n -> p' m = p m.
  Proof. intros m N. unfold p', update. destruct (Nat.eqb_spec m n); congruence. Qed.

  Lemma new_known : forall h, known p h -> known p' h.
  Proof. intros h [A B]. unfold known. rewrite new_version. split; auto using new_live. Qed.

  Lemma new_known_origin : forall x, known_origin p x -> known_origin p' x.
  Proof. intros [h|]; simpl; auto using new_known. Qed.

  Hypothesis parents : forall m, known_origin p (parent (p m)).

  (** What was known before does not come to lie below the new lineage. *)
  Lemma new_same : forall x, known_origin p x -> Valid p' x ->
    Valid p x /\ forall h, Chain p x h <-> Chain p' x h.
  Proof.
    intros x K V. induction V as [|m v E V IH].
    - split. constructor. intros h. split; intros C; inversion C.
    - rewrite new_version in E. destruct K as [_ K]. simpl in K. symmetry in E.
      assert (m <> n) by (intros ->; rewrite K in unused; auto; congruence).
      rewrite new_other in IH by auto. destruct (IH (parents m)) as [V' C'].
      split. constructor; auto. intros h. split; intros C; inversion C; subst;
      try apply Chain_here; apply Chain_above; try rewrite new_other in * by auto; apply C'; auto.
  Qed.
End NewLineage.

Lemma good_make : forall since s o d b s' n, good since s -> make_lineage s o d b = inl (s', n) ->
  known_origin (pool s) o ->
  good since s' /\ unowned s' n /\ live (pool s' n) = true /\ lends (pool s' n) = b /\
  parent (pool s' n) = o.
Proof.
  intros since s o d b s' n G M K. apply make_lineage_spec in M.
  destruct M as (U & P & R & D & T & _). destruct G as [g1 g2 g3 g4 g5 g6 g7 g8 g9].
  assert (U' : unowned s' n).
  { intros p c H N. unfold HeldAt in H. rewrite T in H. destruct (g7 _ _ _ H N). congruence. }
  split; [|split; [exact U'|]].
  - constructor; rewrite ?P, ?R, ?D; unfold HeldAt; rewrite ?T; auto.
    + intros. apply new_known_origin; eauto.
    + intros. apply new_known; eauto.
    + intros m. apply new_known_origin. unfold update. destruct (Nat.eqb_spec m n); subst; simpl;
      auto.
    + intros h H. unfold has_ended. rewrite new_version. apply g5. exact H.
    + intros p c m H N. destruct (g7 _ _ _ H N) as (A & B & C).
      assert (m <> n) by congruence. rewrite new_other by auto. auto.
    + intros p c H V. destruct (new_same _ _ _ _ _ U g4 _ (g2 _ _ H) V) as [V' C].
      destruct (g9 _ _ H V') as [A B]. split; intros h X.
      * destruct (A h X); auto. left. apply C. auto.
      * apply B. apply C. auto.
  - rewrite P. unfold update. rewrite Nat.eqb_refl. auto.
Qed.

(** ** The end of a lineage by revocation *)

Lemma close_pool : forall s n, live (pool s n) = true ->
  pool (close s n) = update (pool s) n (Lineage (S (version (pool s n))) false
    (parent (pool s n)) (payer (pool s n)) (lends (pool s n))).
Proof. intros s n L. unfold close. rewrite L. reflexivity. Qed.

Section EndOfLineage.
  Variables (p : nat -> lineage) (n : nat).
  Let p' := update p n (Lineage (S (version (p n))) false (parent (p n)) (payer (p n))
    (lends (p n))).

  Lemma end_other : forall m, m <> n -> p' m = p m.
  Proof. intros m N. unfold p', update. destruct (Nat.eqb_spec m n); congruence. Qed.

  Lemma end_parent : forall m, parent (p' m) = parent (p m).
  Proof. intros m. unfold p', update. destruct (Nat.eqb_spec m n); subst; auto. Qed.

  Lemma end_version : forall m, version (p' m) = if m =? n then S (version (p m))
                                                 else version (p m).
  Proof. intros m. unfold p', update. destruct (Nat.eqb_spec m n); subst; auto. Qed.

  Lemma end_known : forall h, known p h -> known p' h.
  Proof.
    intros h [A B]. unfold known. rewrite end_version. destruct (Nat.eqb_spec (fst h) n).
    - split; lia.
    - rewrite end_other by auto. auto.
  Qed.

  Lemma end_known_origin : forall x, known_origin p x -> known_origin p' x.
  Proof. intros [h|]; simpl; auto using end_known. Qed.

  Lemma end_ended : forall h, has_ended p h -> has_ended p' h.
  Proof.
    unfold has_ended. intros h H. rewrite end_version. destruct (Nat.eqb_spec (fst h) n); lia.
  Qed.

  Lemma end_this : has_ended p' (n, version (p n)).
  Proof. unfold has_ended. rewrite end_version. simpl. rewrite Nat.eqb_refl. lia. Qed.

  Lemma end_chain : forall x h, Chain p' x h <-> Chain p x h.
  Proof.
    intros x h. split; intros C; induction C; try apply Chain_here; apply Chain_above;
    rewrite ?end_parent in *; auto.
  Qed.

  Lemma end_valid : forall x, (forall m, known_origin p (parent (p m))) -> known_origin p x ->
    Valid p' x -> Valid p x.
  Proof.
    intros x Q K V. induction V as [|m v E V IH]. constructor.
    rewrite end_version in E. rewrite end_parent in IH. destruct K as [A B]. simpl in A, B.
    destruct (Nat.eqb_spec m n); [lia|]. constructor; auto.
  Qed.
End EndOfLineage.

Lemma good_end : forall since s n, good since s -> unowned s n -> good since (end_lineage s n).
Proof.
  intros since s n G U. unfold end_lineage. destruct (live (pool s n)) eqn:L; auto.
  destruct G as [g1 g2 g3 g4 g5 g6 g7 g8 g9].
  assert (T : table (close s n) = table s) by apply close_table.
  constructor; simpl; unfold HeldAt; simpl; rewrite ?T, ?close_pool by auto.
  - intros x X. right. auto.
  - intros. apply end_known_origin; eauto.
  - intros. apply end_known; eauto.
  - intros m. rewrite end_parent. apply end_known_origin; auto.
  - intros h [[<-|H]|H]; [apply end_this | apply end_ended; auto | apply end_ended; auto].
  - intros h [<-|H] H'; [|eapply g6; eauto].
    assert (E : has_ended (pool s) (now_in s n)) by (apply g5; auto).
    unfold has_ended, now_in in E. simpl in E. lia.
  - intros p c m H N. assert (m <> n) by (intros ->; eapply U; eauto).
    rewrite end_other by auto. eauto.
  - eauto.
  - intros p c H V. apply end_valid in V; eauto. destruct (g9 _ _ H V) as [A B].
    split; intros h X; [destruct (A h X) | apply B]; auto; rewrite end_chain in *; auto.
Qed.

(** ** The end of a lineage by dissolution *)

Section Dissolution.
  Variables (p : nat -> lineage) (n : nat).
  Hypothesis parents : forall m, known_origin p (parent (p m)).
  Let from : origin := Some (n, version (p n)).
  Let to := parent (p n).
  Let sub := replace_origin from to.
  (** The pool with the parents replaced, and the same with the version gone up. *)
  Let q m := reparent from to (p m).
  Let q' := update q n (Lineage (S (version (q n))) false (parent (q n)) (payer (q n))
    (lends (q n))).

  Lemma origin_eq_spec : forall a b, reflect (a = b) (origin_eq a b).
  Proof.
    intros [[a1 a2]|] [[b1 b2]|]; simpl; try (constructor; congruence).
    unfold incarnation_eq; simpl.
    destruct (Nat.eqb_spec a1 b1), (Nat.eqb_spec a2 b2); simpl; constructor; congruence.
  Qed.

  Lemma sub_cases : forall x, (x = from /\ sub x = to) \/ (x <> from /\ sub x = x).
  Proof. intros x. unfold sub, replace_origin. destruct (origin_eq_spec x from); auto. Qed.

  Lemma dissolve_parent : forall m, parent (q' m) = sub (parent (p m)).
  Proof. intros m. unfold q'. rewrite end_parent. reflexivity. Qed.

  Lemma dissolve_known : forall h, known p h -> known q' h.
  Proof. intros h K. apply end_known. exact K. Qed.

  Lemma sub_known : forall x, known_origin p x -> known_origin p (sub x).
  Proof. intros x K. destruct (sub_cases x) as [[_ ->]|[_ ->]]; auto. apply parents. Qed.

  Lemma dissolve_known_origin : forall x, known_origin p x -> known_origin q' (sub x).
  Proof.
    intros x K. apply sub_known in K. destruct (sub x); simpl in *; auto using dissolve_known.
  Qed.

  Lemma dissolve_valid : forall y, Valid q' y -> forall x, y = sub x -> known_origin p x ->
    Valid p x.
  Proof.
    intros y V. induction V as [|m v E V IH]; intros x Y K.
    - destruct (sub_cases x) as [[-> S]|[_ S]]; rewrite S in Y; subst; try constructor; auto.
      fold to. rewrite <- Y. constructor.
    - assert (K' : known p (m, v)).
      { apply sub_known in K. rewrite <- Y in K. exact K. }
      destruct K' as [A _]. simpl in A. unfold q' in E. rewrite end_version in E.
      unfold q in E; simpl in E. destruct (Nat.eqb_spec m n); [lia|].
      assert (V' : Valid p (Some (m, v))).
      { constructor; auto. apply IH; auto. apply dissolve_parent. }
      destruct (sub_cases x) as [[-> S]|[_ S]]; rewrite S in Y; subst; auto.
      constructor; auto. fold to. rewrite <- Y. exact V'.
  Qed.

  Lemma dissolve_chain : forall x h, Chain p x h -> Chain q' (sub x) h \/ h = (n, version (p n)).
  Proof.
    intros x h C. induction C as [h | m v h C IH].
    - destruct (sub_cases (Some h)) as [[E _]|[_ E]].
      + right. inversion E. reflexivity.
      + left. rewrite E. apply Chain_here.
    - destruct IH as [IH|IH]; auto. left. destruct (sub_cases (Some (m, v))) as [[E S]|[_ S]];
      rewrite S.
      + inversion E; subst. fold to in IH. destruct (sub_cases to) as [[T T']|[_ T']];
        rewrite T' in IH; auto.
      + apply Chain_above. rewrite dissolve_parent. exact IH.
  Qed.

  Lemma dissolve_chain_back : forall y h, Chain q' y h -> forall x, y = sub x -> Chain p x h.
  Proof.
    intros y h C. induction C as [h | m v h C IH]; intros x Y.
    - destruct (sub_cases x) as [[-> S]|[_ S]]; rewrite S in Y; subst; [|apply Chain_here].
      apply Chain_above. fold to. rewrite <- Y. apply Chain_here.
    - assert (C' : Chain p (Some (m, v)) h).
      { apply Chain_above. apply IH. apply dissolve_parent. }
      destruct (sub_cases x) as [[-> S]|[_ S]]; rewrite S in Y; subst; auto.
      apply Chain_above. fold to. rewrite <- Y. exact C'.
  Qed.
End Dissolution.

Lemma dissolve_pool : forall s n, live (pool s n) = true ->
  let from := Some (now_in s n) in let to := parent (pool s n) in
  let q m := reparent from to (pool s m) in
  pool (dissolve s n) = update q n (Lineage (S (version (q n))) false (parent (q n))
    (payer (q n)) (lends (q n))).
Proof.
  intros s n L. unfold dissolve. rewrite L. simpl. rewrite close_pool; auto.
Qed.

Lemma dissolve_lists : forall s n, live (pool s n) = true ->
  revoked (dissolve s n) = revoked s /\ dissolved (dissolve s n) = now_in s n :: dissolved s.
Proof. intros s n L. unfold dissolve. rewrite L. auto. Qed.

Lemma good_dissolve : forall since s n, good since s -> unowned s n -> good since (dissolve s n).
Proof.
  intros since s n G U. destruct (live (pool s n)) eqn:L;
  [|unfold dissolve; rewrite L; auto].
  destruct G as [g1 g2 g3 g4 g5 g6 g7 g8 g9].
  destruct (dissolve_lists s n L) as [R D]. pose proof (dissolve_pool s n L) as P.
  cbv zeta in P.
  assert (H : forall p c', HeldAt (dissolve s n) p c' -> exists c, HeldAt s p c /\
    c' = with_origin c (replace_origin (Some (now_in s n)) (parent (pool s n)) (origin_of c))).
  { intros p c'. unfold HeldAt. rewrite dissolve_table by auto. apply adopt_held. }
  constructor; rewrite ?R, ?D, ?P; auto.
  - intros p c' X. destruct (H _ _ X) as (c & Y & ->). apply dissolve_known_origin; eauto.
  - intros p c' X. destruct (H _ _ X) as (c & Y & ->). intros.
    apply dissolve_known. eapply g3; eauto.
  - intros m. unfold now_in. rewrite (dissolve_parent (pool s) n).
    apply (dissolve_known_origin (pool s) n); auto.
  - intros h [X|[<-|X]].
    + apply end_ended. apply (g5 h). auto.
    + apply end_this.
    + apply end_ended. apply (g5 h). auto.
  - intros h X [<-|Y]; [|eapply g6; eauto].
    assert (E : has_ended (pool s) (now_in s n)) by (apply g5; auto).
    unfold has_ended, now_in in E. simpl in E. lia.
  - intros p c' m X N. destruct (H _ _ X) as (c & Y & ->). simpl in N.
    assert (m <> n) by (intros ->; eapply U; eauto). destruct (g7 _ _ _ Y N) as (A & B & C).
    rewrite end_other by auto. simpl. rewrite C. auto.
  - intros p c p' c' m X X' N N'. destruct (H _ _ X) as (c0 & Y & ->).
    destruct (H _ _ X') as (c1 & Y' & ->). eapply g8; eauto.
  - intros p c' X. destruct (H _ _ X) as (c & Y & ->). unfold traced; simpl. intros V.
    assert (V' : Valid (pool s) (origin_of c)).
    { eapply dissolve_valid; [exact g4 | exact V | reflexivity | eauto]. }
    destruct (g9 _ _ Y V') as [A B]. split; intros h Z.
    + destruct (A h Z) as [C|C]; auto. apply (dissolve_chain (pool s) n) in C.
      destruct C as [C | ->]; auto.
    + apply B. eapply dissolve_chain_back; [exact Z | reflexivity].
Qed.
