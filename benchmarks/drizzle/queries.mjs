// What the starter does with its database, query for query: one statement after the other,
// each on its own, and its checks before its inserts.
import { and, desc, eq, isNull } from 'drizzle-orm';
import { activityLogs, invitations, teamMembers, teams, users } from './schema.mjs';

const log = (db, teamId, userId, action, ipAddress) =>
  db.insert(activityLogs).values({ teamId, userId, action, ipAddress });

// The team of a user: the starter's users are in one.
async function teamIdOf(db, userId) {
  const [row] = await db
    .select({ user: users, teamId: teamMembers.teamId })
    .from(users)
    .leftJoin(teamMembers, eq(users.id, teamMembers.userId))
    .where(eq(users.id, userId))
    .limit(1);
  if (!row?.teamId) throw new Error('the user is in no team');
  return row.teamId;
}

async function join(db, { userId, teamId, role }) {
  const [member] = await db.insert(teamMembers).values({ userId, teamId, role }).returning();
  return member;
}

// getUser, after the session.
export async function userByID(db, { userId }) {
  const [user] = await db
    .select()
    .from(users)
    .where(and(eq(users.id, userId), isNull(users.deletedAt)))
    .limit(1);
  if (!user) throw new Error('there is no such user');
  return user;
}

// What signIn reads before it compares the password.
export async function credentials(db, { email }) {
  const [found] = await db
    .select({ user: users, team: teams })
    .from(users)
    .leftJoin(teamMembers, eq(users.id, teamMembers.userId))
    .leftJoin(teams, eq(teamMembers.teamId, teams.id))
    .where(eq(users.email, email))
    .limit(1);
  if (!found) throw new Error('there is no such user');
  return { id: found.user.id, hash: found.user.passwordHash };
}

// getTeamForUser, by the team where the starter has the user: here users are in several.
export async function teamWithMembers(db, { teamId }) {
  const member = await db.query.teamMembers.findFirst({
    where: eq(teamMembers.teamId, teamId),
    with: {
      team: {
        with: {
          teamMembers: {
            with: {
              user: { columns: { id: true, name: true, email: true } },
            },
          },
        },
      },
    },
  });
  if (!member) throw new Error('there is no such team');
  return member.team;
}

// getActivityLogs, of a team where the starter has a user, and with the others' limit
// where the starter has 10.
export async function activityPage(db, { teamId, limit }) {
  return await db
    .select({
      id: activityLogs.id,
      action: activityLogs.action,
      timestamp: activityLogs.timestamp,
      ipAddress: activityLogs.ipAddress,
      userName: users.name,
    })
    .from(activityLogs)
    .leftJoin(users, eq(activityLogs.userId, users.id))
    .where(eq(activityLogs.teamId, teamId))
    .orderBy(desc(activityLogs.timestamp))
    .limit(limit);
}

// signUp without an invitation, given a name as the other contenders are.
export async function signUp(db, { name, email, passwordHash, ip }) {
  const existing = await db.select().from(users).where(eq(users.email, email)).limit(1);
  if (existing.length > 0) throw new Error('the e-mail has an account');
  const [user] = await db.insert(users).values({ name, email, passwordHash, role: 'owner' }).returning();
  const [team] = await db
    .insert(teams)
    .values({ name: `${email}'s Team` })
    .returning();
  await log(db, team.id, user.id, 'CREATE_TEAM', ip);
  const [member] = await Promise.all([
    join(db, { userId: user.id, teamId: team.id, role: 'owner' }),
    log(db, team.id, user.id, 'SIGN_UP', ip),
  ]);
  return { user, team, member };
}

export async function invite(db, { userId, email, role, ip }) {
  const teamId = await teamIdOf(db, userId);
  const member = await db
    .select()
    .from(users)
    .leftJoin(teamMembers, eq(users.id, teamMembers.userId))
    .where(and(eq(users.email, email), eq(teamMembers.teamId, teamId)))
    .limit(1);
  if (member.length > 0) throw new Error('the e-mail is a member');
  const invited = await db
    .select()
    .from(invitations)
    .where(and(eq(invitations.email, email), eq(invitations.teamId, teamId), eq(invitations.status, 'pending')))
    .limit(1);
  if (invited.length > 0) throw new Error('the e-mail is invited');
  const [invitation] = await db
    .insert(invitations)
    .values({ teamId, email, role, invitedBy: userId, status: 'pending' })
    .returning();
  await log(db, teamId, userId, 'INVITE_TEAM_MEMBER', ip);
  return invitation;
}

// The part of signUp that accepts an invitation. The starter has it for a new user alone.
export async function accept(db, { userId, email, invitationId, ip }) {
  const [invitation] = await db
    .select()
    .from(invitations)
    .where(and(eq(invitations.id, invitationId), eq(invitations.email, email), eq(invitations.status, 'pending')))
    .limit(1);
  if (!invitation) throw new Error('the invitation is not valid');
  const { teamId, role } = invitation;
  await db.update(invitations).set({ status: 'accepted' }).where(eq(invitations.id, invitation.id));
  await log(db, teamId, userId, 'ACCEPT_INVITATION', ip);
  return await join(db, { userId, teamId, role });
}

export async function remove(db, { userId, memberId, ip }) {
  const teamId = await teamIdOf(db, userId);
  await db.delete(teamMembers).where(and(eq(teamMembers.id, memberId), eq(teamMembers.teamId, teamId)));
  await log(db, teamId, userId, 'REMOVE_TEAM_MEMBER', ip);
}

export async function logRow(db, { teamId, userId, action, ip }) {
  await log(db, teamId, userId, action, ip);
}

// What the webhook does: the customer's team, and its four columns.
export async function subscriptionEvent(db, { customerId, ...subscription }) {
  const [team] = await db.select().from(teams).where(eq(teams.stripeCustomerId, customerId)).limit(1);
  if (!team) throw new Error('the customer has no team');
  const updated = { ...subscription, updatedAt: new Date() };
  await db.update(teams).set(updated).where(eq(teams.id, team.id));
  return { ...team, ...updated };
}
