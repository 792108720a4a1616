import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'job_positions',
    `
    id text primary key
    title text not null
    slug text not null unique
    description text not null
    department text not null
    "employmentType" text not null
    location text not null
    "isRemote" boolean default false
    "salaryMin" decimal(10,2)
    "salaryMax" decimal(10,2)
    "salaryCurrency" text default 'USD'
    "requiredSkills" text[] default '{}'
    "niceToHaveSkills" text[] default '{}'
    "yearsOfExperience" integer
    "shortDescription" text
    requirements text
    benefits text
    "aboutRole" text
    status text default 'draft'
    "isActive" boolean default true
    "createdById" text references users (id) on delete set null
    "publishedAt" timestamp
    "closedAt" timestamp
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "deletedAt" timestamp
    `,
    `
    idx_job_positions_slug (slug)
    idx_job_positions_department (department)
    idx_job_positions_employment_type ("employmentType")
    idx_job_positions_status (status)
    idx_job_positions_is_active ("isActive")
    idx_job_positions_created_at ("createdAt")
    `,
  ),
  defineTable(
    'job_applications',
    `
    id text primary key
    "jobPositionId" text not null references job_positions (id) on delete cascade
    "firstName" text not null
    "lastName" text not null
    email text not null
    phone text
    "resumeUrl" text
    "portfolioUrl" text
    "linkedinUrl" text
    "githubUrl" text
    "coverLetter" text
    "additionalInfo" jsonb default '{}'
    status text default 'new'
    "ratingScore" decimal(3,1)
    notes text
    "appliedAt" timestamp not null default current_timestamp
    "reviewedAt" timestamp
    "reviewedById" text references users (id) on delete set null
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "deletedAt" timestamp
    `,
    `
    idx_job_applications_job_position_id ("jobPositionId")
    idx_job_applications_email (email)
    idx_job_applications_status (status)
    idx_job_applications_applied_at ("appliedAt")
    idx_job_applications_job_status ("jobPositionId", status)
    `,
  ),
  defineTable(
    'job_application_activity',
    `
    id text primary key
    "applicationId" text not null references job_applications (id) on delete cascade
    "activityType" text not null
    description text
    "oldStatus" text
    "newStatus" text
    "performedById" text references users (id) on delete set null
    "createdAt" timestamp not null default current_timestamp
    `,
    `
    idx_job_application_activity_application_id ("applicationId")
    idx_job_application_activity_type ("activityType")
    idx_job_application_activity_created_at ("createdAt")
    `,
  ),
];

/** Open positions and applications. The web site writes them. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
